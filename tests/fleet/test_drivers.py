"""Drivers may be killed, stopped, doubled or told otherwise: the output stays right."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from jobs import cli
from pipeline.corpus.listing import list_shards
from pipeline.errors import DrainedError
from pipeline.fleet.engine import InlineEngine
from pipeline.output.manifest import list_manifests
from pipeline.storage.client import Storage
from pipeline.worker.codec_request import CodecRequest
from pipeline.worker.settings import Tuning
from tests.support.inline_run import worker_settings
from tests.support.ray_runs import RULES, make_shards, snapshot, wait_for
from tests.support.s3_server import S3Server
from tests.support.shard_maker import pair, pairs, write_shard

NUM_SHARDS = 6
# A command line whose codec takes 20 ms a clip, and which reads ahead by a few clips only.
SLOW = """
import sys, time
from jobs import cli
from jobs.run_options import RunOptions
from pipeline.worker.settings import Tuning
from xy_codec.fake import FakeCodec
RunOptions.find_tuning = lambda self: Tuning(1, ahead_bytes=1, ahead_seconds=1.0)
encode = FakeCodec.encode_stream
def slowly(clips):
    for clip in clips:
        time.sleep(0.02)
        yield clip
FakeCodec.encode_stream = lambda self, clips: encode(self, slowly(clips))
sys.exit(cli.run(sys.argv[1:]))
"""


def command(inputs: Path, output: Path | str, *more: str) -> list[str]:
    words = ["tokenize", str(inputs), str(output), "--codec", "fake", "--engine", "inline"]
    return [*words, "--decode-threads", "1", "--quiet", *more]


def start(words: list[str], *script: str, **environment: str) -> subprocess.Popen[bytes]:
    env = os.environ | environment | {"OMP_NUM_THREADS": "1"}
    program = [sys.executable, *(script or ("-m", "jobs")), *words]
    return subprocess.Popen(program, env=env, stderr=subprocess.PIPE)


def ended(process: subprocess.Popen[bytes]) -> tuple[int, str]:
    _, errors = process.communicate(timeout=300)
    return process.returncode, errors.decode()


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_shards(tmp_path_factory.mktemp("drivers"), NUM_SHARDS, num_clips=60)


@pytest.fixture(scope="module")
def expected(inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    output = tmp_path_factory.mktemp("undisturbed")
    assert cli.run(command(inputs, output)) == 0
    return snapshot(output)


def has_manifest(output: Path) -> bool:
    return any((output / "manifests").rglob("*.json"))


def test_a_killed_driver_resumes_to_the_same_bytes(
    inputs: Path, expected: dict[str, bytes], tmp_path: Path
) -> None:
    driver = start(command(inputs, tmp_path))
    wait_for(lambda: has_manifest(tmp_path) or driver.poll() is not None, "the first shard")
    driver.send_signal(signal.SIGKILL)
    ended(driver)
    assert cli.run(command(inputs, tmp_path)) == 0
    assert snapshot(tmp_path) == expected


def test_a_stopped_driver_finishes_what_it_holds_and_resumes_to_the_same_bytes(
    inputs: Path, expected: dict[str, bytes], tmp_path: Path
) -> None:
    driver = start(command(inputs, tmp_path), "-c", SLOW)
    wait_for(lambda: has_manifest(tmp_path) or driver.poll() is not None, "the first shard")
    driver.send_signal(signal.SIGTERM)
    code, errors = ended(driver)
    num_done = len(list_manifests(Storage(), str(tmp_path)))
    assert code == 143
    assert 1 < num_done < NUM_SHARDS
    said = f"Stopped by SIGTERM with {num_done} shards done and {NUM_SHARDS - num_done} left"
    assert said in errors
    assert "Traceback" not in errors
    assert cli.run(command(inputs, tmp_path)) == 0
    assert snapshot(tmp_path) == expected


def test_a_stopped_driver_leaves_what_takes_longer_than_its_time(
    inputs: Path, tmp_path: Path
) -> None:
    engine = InlineEngine(CodecRequest("fake"), drain_seconds=0.0)
    shards = list_shards([str(inputs)], Storage())
    outcomes = engine.run(worker_settings(tmp_path, RULES, Tuning(1)), shards)
    threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGTERM)).start()
    with pytest.raises(DrainedError, match=f"with 0 shards done and {NUM_SHARDS} left"):
        next(outcomes)
    assert not has_manifest(tmp_path)


def test_two_drivers_on_one_output_leave_the_same_bytes(
    inputs: Path, expected: dict[str, bytes], tmp_path: Path
) -> None:
    drivers = [start(command(inputs, tmp_path)) for _ in range(2)]
    assert [ended(driver)[0] for driver in drivers] == [0, 0]
    assert snapshot(tmp_path) == expected


def test_two_drivers_on_one_s3_output_leave_the_same_bytes(inputs: Path, s3: S3Server) -> None:
    bucket = Storage({"s3": s3.storage_options()}).filesystem("s3://twins")[0]
    bucket.mkdir("twins")
    words = command(inputs, "s3://twins/out")
    drivers = [start(words, **s3.environment()) for _ in range(2)]
    assert [ended(driver)[0] for driver in drivers] == [0, 0]
    storage = Storage({"s3": s3.storage_options()})
    assert len(list_manifests(storage, "s3://twins/out")) == NUM_SHARDS


def test_of_two_identities_on_one_s3_output_one_is_refused(inputs: Path, s3: S3Server) -> None:
    bucket = Storage({"s3": s3.storage_options()}).filesystem("s3://rivals")[0]
    bucket.mkdir("rivals")
    drivers = [
        start(
            command(inputs, "s3://rivals/out", "--codec-option", f"overlap_seconds={overlap}"),
            **s3.environment(),
        )
        for overlap in ("10", "5")
    ]
    (winner, _), (loser, error) = sorted(map(ended, drivers))
    assert (winner, loser) == (0, 1)
    assert "codec.options.overlap_seconds: output has" in error


@pytest.mark.parametrize(
    ("option", "shown"),
    [
        (
            ("--codec-option", "overlap_seconds=5"),
            "overlap_seconds: output has `10.0`, this run has `5",
        ),
        (("--max-clip-seconds", "9"), "max_clip_seconds: output has `None`, this run has `9.0`"),
        (("--where", 'language == "en"'), "where: output has `None`"),
    ],
)
def test_another_identity_is_refused_with_both_values(
    option: tuple[str, ...], shown: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_shard(tmp_path / "in" / "a.tar", pairs(2))
    assert cli.run(command(tmp_path / "in", tmp_path / "out")) == 0
    assert cli.run(command(tmp_path / "in", tmp_path / "out", *option)) == 2
    assert shown in capsys.readouterr().err


def test_a_replaced_tar_is_named_and_refused_unless_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = command(tmp_path / "in", tmp_path / "out")
    write_shard(tmp_path / "in" / "a.tar", pairs(2))
    assert cli.run(words) == 0
    write_shard(tmp_path / "in" / "a.tar", pairs(5))
    assert cli.run(words) == 1
    assert "a.tar" in capsys.readouterr().err
    assert cli.run([*words, "--redo-changed"]) == 0
    assert len(list((tmp_path / "out" / "manifests").rglob("*.json"))) == 1


def test_added_tars_are_just_done(tmp_path: Path) -> None:
    words = command(tmp_path / "in", tmp_path / "out")
    write_shard(tmp_path / "in" / "a.tar", pairs(2))
    assert cli.run(words) == 0
    write_shard(tmp_path / "in" / "b.tar", pair("late"))
    assert cli.run(words) == 0
    assert len(snapshot(tmp_path / "out")) == 6
