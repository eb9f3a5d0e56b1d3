"""A plan tells what a run would do, close to what it then does, and changes nothing."""

import gzip
import subprocess
import sys
import time
from pathlib import Path

import pytest
from shard_maker import audio, emilia_json, pairs, tar_bytes, write_shard

from jobs import cli
from pipeline.plan import Plan, make_plan
from pipeline.shard_listing import list_shards
from pipeline.shard_sample import sample_shards
from pipeline.storage import Storage


def plan_of(folder: Path) -> Plan:
    inputs, output = (str(folder / "in"),), str(folder / "out")
    return make_plan(inputs, output, Storage(), speed=100.0, gpus=2)


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
    sample = sample_shards(list_shards([str(tmp_path / "in")], Storage()), Storage())
    assert sample.clips == 4


def test_what_is_done_is_not_planned_again(tmp_path: Path) -> None:
    write_shard(tmp_path / "in" / "a.tar", pairs(2))
    words = ["tokenize", str(tmp_path / "in"), str(tmp_path / "out"), "--codec", "fake"]
    assert cli.run([*words, "--engine", "inline", "--quiet"]) == 0
    write_shard(tmp_path / "in" / "b.tar", pairs(3))
    plan = plan_of(tmp_path)
    assert (plan.done, plan.left, round(plan.clips)) == (1, 1, 3)
    assert plan.run is not None


def test_more_workers_shorten_the_wall_time_down_to_the_largest_shard(tmp_path: Path) -> None:
    write_shard(tmp_path / "in" / "a.tar", pairs(8))
    write_shard(tmp_path / "in" / "b.tar", pairs(2))
    plan = plan_of(tmp_path)
    assert plan.wall_hours == pytest.approx(plan.gpu_hours * 0.8, rel=0.1)


def test_the_command_prints_and_starts_fast(tmp_path: Path) -> None:
    write_shard(tmp_path / "in" / "a.tar", pairs(2))
    command = [sys.executable, "-X", "importtime", "-m", "jobs", "plan", "-h"]
    started = time.perf_counter()
    out = subprocess.run(command, capture_output=True, text=True, check=True)
    assert time.perf_counter() - started < 5  # half a second on an idle machine
    for heavy in ("torch", "ray", "pyarrow", "numpy"):
        assert f"| {heavy}\n" not in out.stderr
    assert cli.run(["plan", str(tmp_path / "in"), str(tmp_path / "out")]) == 0


def test_a_speed_of_zero_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["plan", "in", "out", "--speed", "0"]) == 2
    assert "--speed 0" in capsys.readouterr().err
