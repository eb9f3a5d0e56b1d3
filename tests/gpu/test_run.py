"""The script of this folder in its reduced form, with nothing installed beside torch and yaml."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import torch

from tests.gpu import machine
from tests.gpu.device_trace import of_gpu
from tests.gpu.flac import read_flac
from tests.gpu.models import Models
from tests.gpu.record import Record, is_done
from tests.gpu.report import main as report
from tests.gpu.report import put_section, read_records, section, target_lines
from tests.gpu.run import STAGES
from tests.gpu.training_step import train
from tests.support.places import GOLDEN, ROOT

ABSENT = {
    "cyclopts", "fsspec", "huggingface_hub", "pyarrow", "pydantic", "ray", "requests", "s3fs",
    "scipy", "soundfile", "torchaudio", "tqdm", "transformers", "webdataset", "xxhash",
}  # fmt: skip
# Half precision is stood in for: few CPUs have float16.
SCRIPT = f"""
import sys
from importlib.machinery import BuiltinImporter, FrozenImporter, PathFinder
class Without:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {ABSENT}:
            return None
        return PathFinder.find_spec(name, path, target)
sys.meta_path[:] = [BuiltinImporter, FrozenImporter, Without()]
import torch
import xy_codec.xy.loading
torch.set_num_threads(1)
kinds = {{"exact": torch.float32, "fast": torch.bfloat16}}
xy_codec.xy.loading.dtype_of = lambda precision, device: kinds[precision]
from tests.gpu.run import main
sys.exit(main(sys.argv[1:]))
"""
# Stages of which three lose their process, in three ways.
LOSSES = """
import os, signal, sys, time
from tests.gpu import run

def dies(record, models):
    record.put("before", 1)
    os.abort()

def hangs(record, models):
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM])
    time.sleep(300)

def loses(record, models):
    run.answers = lambda device: False
    record.attempt("b", lambda: 1 / 0)
    record.put("c", 1)

def works(record, models):
    record.put("process", os.getpid())

kinds = {"goldens": dies, "speed": hangs, "one_shape": loses, "profile": works, "decode": works}
run.STAGES.clear()
run.STAGES.update({name: (kind, 0.01 if kind is hangs else 1) for name, kind in kinds.items()})
run._HANG_SECONDS = 0.5
sys.exit(run.main([*sys.argv[1:], "--stages", ",".join(kinds)]))
"""
UNTOUCHED = """
import torch
def touched(*_, **__):
    raise SystemExit("CUDA was touched")
for name in ("is_available", "device_count", "_lazy_init", "current_device"):
    setattr(torch.cuda, name, touched)
import tests.gpu.run
"""
Content = dict[str, dict]


def run_small(out: Path, *options: str) -> str:
    words = [sys.executable, "-c", SCRIPT, "--small", "--device", "cpu", "--out", str(out)]
    done = subprocess.run([*words, *options], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("records")
    printed = run_small(out, "--minutes", "30")
    assert printed.startswith(("working tree ", "working tree:"))
    return out


@pytest.fixture(scope="module")
def found(folder: Path) -> Content:
    records = read_records(folder)
    assert {name: each["state"] for name, each in records.items()} == dict.fromkeys(STAGES, "done")
    return {name: each["found"] for name, each in records.items()}


def test_goldens_of_the_small_model_hold_and_bits_are_a_clips_own(found: Content) -> None:
    goldens = found["goldens"]
    exact = goldens["exact"]["small_xy"]
    assert (exact["wrong"], exact["ties_1e-3"]) == (0, 0)
    assert goldens["weights"]["small_xy"] is True
    assert exact["cases"] >= 3
    assert exact["wave_error"] < 1e-4
    for precision in ("exact", "fast"):
        for where in ("company", "places"):
            trials = goldens["invariance"][precision]["small_xy"][where]
            assert trials["clips"] > 10
            assert (trials["bits_differ"], trials["codes_differ"]) == (0, 0)
    assert 0 < goldens["flips"]["xy-nano"]["overall"] < 0.5


def test_packs_of_one_shape_hold_the_goldens_and_bits(found: Content) -> None:
    packs = found["one_shape"]
    assert (packs["exact"]["small_xy"]["wrong"], packs["exact"]["small_xy"]["ties_1e-3"]) == (0, 0)
    assert packs["speed"]["exact"]["pack"]["codes_unlike_tiles"] == 0
    for precision in ("exact", "fast"):
        assert packs["speed"][precision]["pack"]["times_realtime"] > 1
        for where in ("company", "places"):
            trials = packs["invariance"][precision]["small_xy"][where]
            assert trials["clips"] > 10
            assert (trials["bits_differ"], trials["codes_differ"]) == (0, 0)


def test_goldens_of_other_codecs_hold(found: Content) -> None:
    assert found["codecs"]["noise"] == {"values": 1000 * 2304, "unlike": 0}
    for program in ("tiles", "pack"):
        goldens = found["codecs"]["goldens"][program]
        assert len(goldens) == 5
        for name, one in goldens.items():
            assert one["cases"] >= 2, name
            assert (one["wrong"], one["ties"], one["differ_in_company"]) == (0, 0, 0), name
        for way in ("encode", "decode"):
            speed = found["codecs"]["speed"][program]["secousti_small_86"][way]
            assert speed["times_realtime"] > 0


def test_every_figure_of_speed_is_there(found: Content) -> None:
    speed = found["speed"]
    for precision in ("exact", "fast"):
        first = speed[precision]["first"]
        assert first["times_realtime"] > 1
        assert speed[precision]["again"]["audio_seconds"] == first["audio_seconds"]
        assert speed[precision]["device"]["packs"] >= 1
    assert 0 < speed["exact"]["work"]["share_of_matmul_peak"] < 1
    assert speed["padded"]["exact"]["batch_1"]["times_realtime"] > 0
    assert speed["over_padded"]["exact_over_exact"] > 1
    assert found["profile"]["exact"]["top"][0]["milliseconds"] > 0
    for program in ("tiles", "pack"):
        assert found["decode"]["exact"][program]["times_realtime"] > 1
    # Tiles of the small form have other numbers of steps in their products.
    assert found["decode"]["exact"]["pack"]["largest_difference_from_tiles"] < 1e-5


def test_training_runs_without_its_packages_and_says_what_failed(found: Content) -> None:
    assert found["training"]["bfloat16"]["none"]["finite"]
    assert "No module named 'transformers'" in found["training"]["float32"]["llm"]["error"]


def test_what_is_done_is_skipped_and_what_has_no_time_is_cut(folder: Path, tmp_path: Path) -> None:
    out = shutil.copytree(folder, tmp_path / "records")
    (out / "speed.json").unlink()
    printed = run_small(out, "--minutes", "0.12")
    assert printed.count("done before, skipped") == len(STAGES) - 1
    assert read_records(out)["speed"]["state"] == "cut"
    assert not is_done(out / "speed.json")
    for path in folder.iterdir():
        assert path.name == "speed.json" or (out / path.name).read_bytes() == path.read_bytes()


def test_without_a_gpu_it_says_what_would_travel_and_ends(tmp_path: Path) -> None:
    words = [sys.executable, "tests/gpu/run.py", "--out", str(tmp_path / "records")]
    hidden = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(words, cwd=ROOT, env=hidden, capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert done.stdout.startswith("working tree")
    assert "no CUDA device" in done.stdout
    assert not (tmp_path / "records").exists()


def test_the_process_that_starts_others_does_not_touch_cuda() -> None:
    # What has touched it cannot be forked.
    words = [sys.executable, "-c", UNTOUCHED]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_stages_run_on_behind_one_that_dies_hangs_or_loses_the_device(tmp_path: Path) -> None:
    words = [sys.executable, "-c", LOSSES, "--device", "cpu", "--minutes", "10"]
    done = subprocess.run(
        [*words, "--out", str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1, done.stderr
    records = read_records(tmp_path)
    states = {name: each["state"] for name, each in records.items()}
    lost = dict.fromkeys(("goldens", "speed", "one_shape"), "failed")
    assert states == {**lost, "profile": "done", "decode": "done"}
    assert records["goldens"]["found"] == {"before": 1}
    assert records["goldens"]["error"] == ["its process ended (-6)"]
    assert records["speed"]["error"] == ["its process ended (1)"]
    assert "division by zero" in records["one_shape"]["found"]["b"]["error"]
    assert records["one_shape"]["error"][-1].endswith("the device was lost in b")
    assert "c" not in records["one_shape"]["found"]
    processes = {name: each["found"].get("process") for name, each in records.items()}
    assert processes["profile"] == processes["decode"] is not None


def test_what_is_too_much_to_travel_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "TRAVEL_LIMIT_BYTES", 2**20)
    *_, last = machine.travel_lines([])
    assert "campplus.onnx" in last or "not a git checkout" in last


def test_a_failing_stage_leaves_its_findings_and_the_error(tmp_path: Path) -> None:
    def fails(record: Record) -> None:
        record.put("a.b", 1)
        record.attempt("c", lambda: 1 / 0)
        raise ValueError("broken")

    record = Record(tmp_path / "x.json", "x", {}, 10)
    record.run(fails)
    written = json.loads((tmp_path / "x.json").read_text())
    assert written["found"]["a"] == {"b": 1}
    assert "division by zero" in written["found"]["c"]["error"]
    assert (written["state"], written["error"][-1]) == ("failed", "ValueError: broken")


def test_a_report_is_a_section_that_a_second_one_replaces(folder: Path, tmp_path: Path) -> None:
    results = tmp_path / "RESULTS.md"
    results.write_text("# Results\n\n## one\n\ntext\n")
    for _ in range(2):
        assert report([str(folder), "--into", str(results)]) == 0
    text = results.read_text()
    assert text.count("## gpu: cpu, ") == 1
    assert text.startswith("# Results\n\n## one\n\ntext\n\n## gpu: ")
    assert re.search(r"^\| small_xy \| cases \d+, frames \d+, wrong 0, ", text, re.M)
    assert report([str(tmp_path / "nothing"), "--into", str(results)]) == 1
    heading = section(read_records(folder))[0]
    assert put_section(text + "\n## last\n", [heading, "new"]).endswith(
        f"## last\n\n{heading}\nnew\n"
    )


def test_targets_are_judged_on_a_gpu_at_full_size_only() -> None:
    about = {"device": "a GPU", "models": "full size"}
    found = {"fast": {"first": {"times_realtime": 5000.0}}}
    on_gpu = target_lines({"speed": {"about": about, "found": found}})
    assert "| fast, × real time, ≥ 10,000 | 5,000 | **missed** |" in on_gpu
    assert "| graph, fast, × real time, ≥ 10,000 | not measured | open |" in on_gpu
    assert sum(line.endswith("| met |") for line in on_gpu) == 1
    for other in ({"device": "cpu"}, {"models": "small"}):
        lines = target_lines({"speed": {"about": {**about, **other}, "found": found}})
        assert all(line.endswith("| not measured | open |") for line in lines)


def event(kind: str, name: str, start: float, end: float) -> SimpleNamespace:
    span = SimpleNamespace(start=start, end=end, elapsed_us=lambda: end - start)
    return SimpleNamespace(
        device_type=SimpleNamespace(name=kind), name=name, time_range=span, is_user_annotation=False
    )


def test_a_trace_counts_overlapping_kernels_once_and_gaps_between_them() -> None:
    found = of_gpu(
        [
            event("CPU", "cudaStreamSynchronize", 0, 900),
            event("CUDA", "Memcpy HtoD (Pageable -> Device)", 100, 200),
            event("CUDA", "product", 205, 400),
            event("CUDA", "product", 300, 500),
            event("CUDA", "norm", 520, 600),
        ]
    )
    assert (found.launches, found.gaps) == (3, 1)
    assert found.busy == pytest.approx(0.475)
    assert found.span == pytest.approx(0.5)
    assert found.longest_gap == pytest.approx(0.02)
    assert (found.copies, found.waits) == ({"Memcpy HtoD": 1}, {"cudaStreamSynchronize": 1})
    assert [(top.name, top.calls, top.milliseconds) for top in found.top] == [
        ("product", 2, 0.395), ("norm", 1, 0.08)
    ]  # fmt: skip


def test_flac_is_read_as_soundfile_reads_it() -> None:
    path = GOLDEN / "inputs" / "synth.flac"
    samples, _ = soundfile.read(path, dtype="float32")
    assert np.array_equal(read_flac(path, 10**9), samples)
    assert np.array_equal(read_flac(path, 5000), samples[:5000])


def test_the_text_branch_trains_in_bfloat16() -> None:
    made = train(Models(torch.device("cpu"), is_small=True), "bfloat16", "llm")
    assert made["losses"]["asr"] > 0
