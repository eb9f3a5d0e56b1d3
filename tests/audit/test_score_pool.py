import multiprocessing
import os
import subprocess
import sys

import numpy as np
import pytest

from pipeline.audit.metrics.score_pool import Pair, ScorePool, _Processes
from pipeline.audit.metrics.scores import score_pair
from tests.support.speech_pairs import speech_pairs


def many_bursts(seconds: float) -> np.ndarray:
    """More utterances than PESQ's reference code has room for."""
    time = np.arange(int(seconds * 16000)) / 16000
    tone = sum(np.sin(2 * np.pi * 140 * k * time) / k for k in range(1, 20))
    return (0.1 * tone * (np.floor(time / 0.25) % 2)).astype(np.float32)


def test_pool_gives_what_one_process_gives_and_survives_a_killed_process():
    pairs: list[Pair[str]] = [Pair(str(n), *pair) for n, pair in enumerate(speech_pairs())]
    long = many_bursts(60.0)
    killer = Pair("killer", long, (long + 1e-3 * np.sin(np.arange(len(long)))).astype(np.float32))
    groups = ("stoi", "pesq")
    with ScorePool(2, groups) as pool:
        scored = dict(pool.scores([*pairs[:2], killer, *pairs[2:]]))
    assert scored["killer"].reasons["pesq_wb"] == "crashed"
    assert scored["killer"].scores.stoi == pytest.approx(1.0, abs=0.05)
    for pair in pairs:
        alone = score_pair(pair.original, pair.reconstruction, groups=groups)
        assert scored[pair.tag].scores == alone.scores


def test_processes_have_their_thread_limits_before_they_import_anything():
    before = dict(os.environ)
    with _Processes(1, mp_context=multiprocessing.get_context("spawn")) as processes:
        assert processes.submit(os.getenv, "OMP_NUM_THREADS").result() == "1"
    assert dict(os.environ) == before


def test_pool_draws_pairs_only_as_fast_as_it_scores():
    drawn = []

    def source():
        for index in range(12):
            drawn.append(index)
            original, damaged = speech_pairs()[0]
            yield Pair(index, original[:16000], damaged[:16000])

    with ScorePool(1, ("acoustics",)) as pool:
        scores = pool.scores(source())
        next(scores)
        assert len(drawn) <= 3
        assert len(list(scores)) == 11


# Nothing here keeps a process that imports this file from running it again.
SCRIPT = """
import numpy
from pipeline.audit.metrics.score_pool import Pair, ScorePool, _Processes
print("started", flush=True)
silence = numpy.zeros(16000, numpy.float32)
with ScorePool(1, ("acoustics",)) as pool:
    print([tag for tag, _ in pool.scores([Pair("one", silence, silence)])])
"""


def test_processes_do_not_run_the_user_s_script_again(tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)
    out = subprocess.run(
        [sys.executable, tmp_path / "script.py"], capture_output=True, text=True, check=False
    )
    assert out.stdout == "started\n['one']\n", out.stderr[-2000:]
