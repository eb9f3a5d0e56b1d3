"""A plan tells what a run would do, close to what it then does, and changes nothing."""

import gzip
import io
import json
import subprocess
import sys
import time
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import pytest

from jobs import cli
from pipeline.bench.kept_speeds import keep_speed
from pipeline.corpus.listing import list_shards
from pipeline.corpus.rules import ReadRules
from pipeline.corpus.sampling import sample_shards
from pipeline.corpus.shard import Shard
from pipeline.inspect.plan import Plan, Speed, longest_hours, make_plan, shape_of
from pipeline.inspect.run_speed import speed_so_far
from pipeline.storage.client import Storage
from pipeline.worker.codec_request import CodecRequest
from tests.support.shard_maker import audio, emilia_json, pairs, tar_bytes, write_shard

SPEED = Speed(100.0, "as asked")


@pytest.fixture(autouse=True)
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def plan_of(folder: Path, rules: ReadRules | None = None, **more: Any) -> Plan:
    inputs, output = (str(folder / "in"),), str(folder / "out")
    rules, codec = rules or ReadRules(), CodecRequest("fake")
    more = {"workers": 2} | more
    return make_plan(inputs, output, Storage(), rules=rules, codec=codec, **more)


def line_of(plan: Plan, name: str) -> str:
    return next((line[10:] for line in plan.lines() if line.startswith(name)), "")


def test_clips_and_hours_of_small_shards_are_exact(tmp_path: Path) -> None:
    for number in range(3):
        write_shard(tmp_path / "in" / f"{number}.tar", pairs(5))
    plan = plan_of(tmp_path)
    assert (plan.shards, plan.left) == (3, 3)
    assert plan.clips == pytest.approx(15, rel=0.01)
    assert plan.hours == pytest.approx(15 / 3600, rel=0.01)
    assert not (tmp_path / "out").exists()


def test_large_shards_are_estimated_from_their_beginnings(tmp_path: Path) -> None:
    clip = audio(4.0, kind="wav")
    members = [
        (f"{n:04d}.{kind}", content)
        for n in range(60)
        for kind, content in (("json", emilia_json(f"{n}", duration=4.0)), ("wav", clip))
    ]
    write_shard(tmp_path / "in" / "big.tar", members)
    plan = plan_of(tmp_path)
    assert plan.size_bytes > 8 << 20
    assert plan.clips == pytest.approx(60, rel=0.05)
    assert plan.hours == pytest.approx(240 / 3600, rel=0.05)


def test_audio_without_json_is_timed_by_its_header(tmp_path: Path) -> None:
    write_shard(tmp_path / "in" / "a.tar", [(f"{n}.flac", audio(2.0, kind="flac")) for n in (1, 2)])
    assert plan_of(tmp_path).hours == pytest.approx(4 / 3600, rel=0.01)


def test_compressed_shards_are_sampled_too(tmp_path: Path) -> None:
    write_shard(tmp_path / "in" / "a.tar.gz", gzip.compress(tar_bytes(pairs(4))))
    sample = sample_shards(list_shards([str(tmp_path / "in")], Storage()), Storage(), ReadRules())
    assert sample.clips == 4


def test_what_is_done_is_not_planned_again(tmp_path: Path) -> None:
    write_shard(tmp_path / "in" / "a.tar", pairs(2))
    words = ["tokenize", str(tmp_path / "in"), str(tmp_path / "out"), "--codec", "fake"]
    assert cli.run([*words, "--engine", "inline", "--quiet"]) == 0
    write_shard(tmp_path / "in" / "b.tar", pairs(3))
    plan = plan_of(tmp_path)
    assert (plan.done, plan.left, round(plan.clips)) == (1, 1, 3)
    assert plan.run is not None


def test_a_limit_caps_clips_and_hours_shard_by_shard(tmp_path: Path) -> None:
    for number, clips in enumerate((2, 8, 8)):
        write_shard(tmp_path / "in" / f"{number}.tar", pairs(clips))
    plan = plan_of(tmp_path, ReadRules(limit=4))
    assert plan.clips == pytest.approx(2 + 4 + 4, rel=0.15)
    assert plan.hours == pytest.approx(plan.clips / 3600, rel=0.01)
    assert plan.largest_hours == pytest.approx(4 / 3600, rel=0.01)


def test_a_filter_is_said_not_to_be_estimated(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_shard(tmp_path / "in" / "a.tar", pairs(2))
    words = ["plan", str(tmp_path / "in"), str(tmp_path / "out"), "--codec", "xy-nano"]
    assert cli.run(words) == 0
    assert "where" not in capsys.readouterr().out
    assert cli.run([*words, "--where", "dnsmos >= 3"]) == 0
    assert "where     `dnsmos >= 3` is not estimated" in capsys.readouterr().out


@pytest.mark.parametrize(
    "other", [["--precision", "fast"], ["--codec-option", "overlap_seconds=5"], ["--limit", "1"]]
)
def test_what_a_run_would_refuse_is_not_planned(
    tmp_path: Path, other: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    write_shard(tmp_path / "in" / "a.tar", pairs(2))
    words = [str(tmp_path / "in"), str(tmp_path / "out"), "--codec", "xy-nano"]
    assert cli.run(["tokenize", *words, "--engine", "inline", "--quiet"]) == 0
    assert cli.run(["plan", *words]) == 0
    assert "resumes run" in capsys.readouterr().out
    assert cli.run(["plan", *words, *other]) == 2
    assert "output has `" in capsys.readouterr().err


def test_the_tail_is_that_of_the_largest_shards_first(tmp_path: Path) -> None:
    for name, clips in (("a", 8), ("b", 5), ("c", 5), ("d", 2)):
        # Large files, so that a tar's padding does not count; their JSON says "a second".
        write_shard(tmp_path / "in" / f"{name}.tar", pairs(clips, 10.0))
    plan = plan_of(tmp_path, workers=2, speed=SPEED, price=36_000.0)
    # As in a run, one worker does 8 and 2 clips, the other 5 and 5: nothing is read ahead here.
    assert plan.longest_hours == pytest.approx(10 / 3600, rel=0.05)
    assert plan.idle_share == pytest.approx(0.0, abs=0.03)
    plan = plan_of(tmp_path, workers=9, speed=SPEED, price=36_000.0)
    assert plan.workers == 4
    assert plan.longest_hours == plan.largest_hours == pytest.approx(8 / 3600, rel=0.05)
    assert plan.idle_share == pytest.approx(1 - 20 / 32, abs=0.03)
    assert "% of the time of 4 workers is idle at the end" in line_of(plan, "tail")
    # Four workers for 0.08 seconds.
    assert float(line_of(plan, "cost").split()[0]) == pytest.approx(3.2, rel=0.05)


def test_many_shards_are_laid_out_within_seconds(tmp_path: Path) -> None:
    shards = [Shard(f"{n}.tar", f"{n}.tar", 1000 + n % 7, "") for n in range(20_000)]
    started = time.process_time()
    longest = longest_hours(shards, [shard.size_bytes / 1000 for shard in shards], 500)
    assert longest == pytest.approx(40, rel=0.03)
    assert time.process_time() - started < 5  # a tenth of a second on an idle machine


def test_without_a_measured_speed_no_time_is_told(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_shard(tmp_path / "in" / f"{name}.tar", pairs(2))
    plan = plan_of(tmp_path, price=2.0)
    assert line_of(plan, "speed").startswith("unknown, and so is the time: run `xytok bench`")
    assert not line_of(plan, "time")
    assert not line_of(plan, "cost")
    assert line_of(plan, "tail")


def test_a_given_speed_wins_over_the_run_s_own_and_that_over_bench(tmp_path: Path) -> None:
    keep_speed(CodecRequest("fake"), 77.0, "cpu")
    keep_speed(CodecRequest("fake", precision="fast"), 99.0, "cpu")
    write_shard(tmp_path / "in" / "a.tar", pairs(2))
    words = [str(tmp_path / "in"), str(tmp_path / "out"), "--codec", "fake"]

    def speed_line(*more: str) -> str:
        told = io.StringIO()
        with redirect_stdout(told):
            assert cli.run(["plan", *words, *more]) == 0
        return next(line for line in told.getvalue().splitlines() if line.startswith("speed"))

    assert "77.0 x real time a worker, as `xytok bench` measured (cpu, 20" in speed_line()
    assert "99.0 x" in speed_line("--precision", "fast")
    assert "unknown" in speed_line("--codec-option", "depth=4")
    assert cli.run(["tokenize", *words, "--engine", "inline", "--quiet"]) == 0
    write_shard(tmp_path / "in" / "b.tar", pairs(3))
    assert speed_line().endswith("as in the 1 shard that this run has done")
    assert speed_line("--speed", "55").endswith("55.0 x real time a worker, as `--speed` says")


def test_the_speed_of_a_run_is_that_of_one_worker(tmp_path: Path) -> None:
    events = [
        {"event": "run_started", "time": 0, "shards": 3},
        *(shard_done(worker, 100.0, 10.0, 500.0) for worker in ("a", "b")),
        shard_done("a", 120.0, 25.0, 500.0),
        {"event": "run_started", "time": 5000, "shards": 1},  # the pause between is no work
        shard_done("a", 5010.0, 10.0, 500.0),
    ]
    (tmp_path / "events").mkdir()
    lines = "".join(json.dumps(event) + "\n" for event in events)
    (tmp_path / "events/1.jsonl").write_text(lines)
    # Worker a: 90 to 120 and 5000 to 5010; worker b: 90 to 100.
    assert speed_so_far(Storage(), str(tmp_path)) == (2000 / 50, 4)


def shard_done(worker: str, time: float, seconds: float, speech: float) -> dict[str, object]:
    done = {"event": "shard_done", "worker": worker, "time": time, "seconds": seconds}
    return done | {"source_seconds": speech}


def test_clips_that_tell_no_duration_make_no_hours_of_zero(tmp_path: Path) -> None:
    write_shard(tmp_path / "in" / "a.tar", [("a.m4a", b"x" * 99), ("b.m4a", b"y" * 99)])
    plan = plan_of(tmp_path, speed=SPEED)
    assert line_of(plan, "speech") == "of unknown length: 2 clips without a duration"
    assert not line_of(plan, "time")


def test_the_command_prints_and_starts_fast(tmp_path: Path) -> None:
    write_shard(tmp_path / "in" / "a.tar", pairs(2))
    command = [sys.executable, "-X", "importtime", "-m", "jobs", "plan", "-h"]
    started = time.perf_counter()
    out = subprocess.run(command, capture_output=True, text=True, check=True)
    assert time.perf_counter() - started < 5  # half a second on an idle machine
    imported = {line.rpartition("|")[2].strip() for line in out.stderr.splitlines()}
    assert "jobs.run_options" in imported
    assert not imported & {"torch", "ray", "pyarrow", "numpy"}
    words = ["plan", str(tmp_path / "in"), str(tmp_path / "out"), "--codec", "xy-nano"]
    assert cli.run(words) == 0


def test_a_speed_of_zero_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["plan", "in", "out", "--codec", "fake", "--speed", "0"]) == 2
    assert "--speed 0" in capsys.readouterr().err


def test_the_size_is_that_of_the_codec_and_its_depth(tmp_path: Path) -> None:
    write_shard(tmp_path / "in" / "a.tar", pairs(2))

    def bits(source: str, *options: str) -> float | None:
        shape = shape_of(CodecRequest(source, options=options))
        return None if shape is None else shape.bits_per_second

    assert (bits("xy-nano"), bits("xy-nano", "depth=3")) == (1000.0, 375.0)
    assert bits("kyutai/mimi", "depth=8") == 1100.0
    # Two releases under one name, an option that only the codec understands, an unknown name.
    assert bits("qiangchunyu/SecoustiCodec") is None
    assert bits("facebook/encodec_24khz", "bandwidth=6") is None
    assert bits("nobody/knows") is None


@pytest.mark.parametrize(
    ("codec", "message"),
    [
        (
            ["xy-nano", "--codec-option", "dpth=3"],
            "`dpth` is unknown, expected `depth`",
        ),
        (["xy-nano", "--codec-option", "depth=3", "--codec-option", "depth=4"], "given twice"),
        (["empty"], "holds no checkpoint"),
        (["mimi", "--compile"], "transformers has no compiled form"),
    ],
)
def test_a_codec_that_is_here_is_looked_at(
    tmp_path: Path,
    codec: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write_shard(tmp_path / "in" / "a.tar", pairs(2))
    (tmp_path / "empty").mkdir()
    (tmp_path / "mimi").mkdir()
    (tmp_path / "mimi" / "config.json").write_text('{"model_type": "mimi"}')
    monkeypatch.chdir(tmp_path)
    assert cli.run(["plan", "in", "out", "--codec", *codec]) != 0
    assert message in capsys.readouterr().err


def test_another_codec_than_that_of_the_output_is_not_planned(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_shard(tmp_path / "in" / "a.tar", pairs(2))
    words = [str(tmp_path / "in"), str(tmp_path / "out")]
    run = ["tokenize", *words, "--codec", "fake", "--engine", "inline", "--quiet"]
    assert cli.run(run) == 0
    assert cli.run(["plan", *words, "--codec", "xy-nano"]) == 2
    assert "codec.checkpoint_sha256: output has `" in capsys.readouterr().err
