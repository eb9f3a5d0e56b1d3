"""Drivers may be killed, stopped, doubled or told otherwise: the output stays right."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from jobs import cli
from pipeline.corpus.listing import list_shards
from pipeline.errors import DrainedError
from pipeline.fleet.engine import InlineEngine
from pipeline.fleet.lease import STALE_SECONDS
from pipeline.output.events import read_events
from pipeline.output.manifest import list_manifests
from pipeline.plural import plural
from pipeline.storage.client import Storage
from pipeline.worker.codec_request import CodecRequest
from pipeline.worker.settings import Tuning
from tests.support.inline_run import worker_settings
from tests.support.ray_runs import RULES, make_shards, snapshot, wait_for
from tests.support.s3_server import S3Server
from tests.support.shard_maker import pairs, write_shard

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
# Leases that go stale in two seconds.
QUICK_LEASE = """
from pipeline.fleet import lease
lease.RENEW_SECONDS, lease.SURE_SECONDS, lease.STALE_SECONDS = 0.3, 1.5, 2.0
"""
# Leases that are renewed as often, and do not go stale on a busy machine.
PATIENT_LEASE = "from pipeline.fleet import lease; lease.RENEW_SECONDS = 0.3"
# A codec that takes half a second a clip, while all clips of a shard are ready.
QUEUED = """
import time
from jobs import cli
from xy_codec.fake import FakeCodec
encode = FakeCodec.encode_stream
def slowly(clips):
    for clip in clips:
        print("encoding", flush=True)
        time.sleep(0.5)
        yield clip
FakeCodec.encode_stream = lambda self, clips: encode(self, slowly(clips))
cli.main()
"""
# A codec that never comes back.
NEVER_DONE = """
import time
from jobs import cli
from pipeline.fleet import worker_host
from xy_codec.fake import FakeCodec
def hang(self, clips):
    next(clips)
    print("encoding", flush=True)
    time.sleep(600)
FakeCodec.encode_stream = hang
cli.main()
"""
LOADS_FOR_EVER = """
import sys, time
from jobs import cli
from pipeline.worker.codec_request import CodecRequest
CodecRequest.load = lambda self: time.sleep(600)
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
    killed = time.monotonic()
    assert cli.run(command(inputs, tmp_path)) == 0
    # A dead process of this machine is not waited for.
    assert time.monotonic() - killed < STALE_SECONDS
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
    said = (
        f"Stopped by SIGTERM with {plural(num_done, 'shard')} done and {NUM_SHARDS - num_done} left"
    )
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
        list(outcomes)
    assert not has_manifest(tmp_path)


def test_two_drivers_on_one_output_leave_the_same_bytes(
    inputs: Path, expected: dict[str, bytes], tmp_path: Path
) -> None:
    drivers = [start(command(inputs, tmp_path, "--wait-for-output")) for _ in range(2)]
    assert [ended(driver)[0] for driver in drivers] == [0, 0]
    assert snapshot(tmp_path) == expected


def test_two_drivers_on_one_s3_output_do_every_shard_once(inputs: Path, s3: S3Server) -> None:
    storage = Storage({"s3": s3.storage_options()})
    storage.filesystem("s3://twins")[0].mkdir("twins")
    words = command(inputs, "s3://twins/out", "--wait-for-output")
    drivers = [start(words, **s3.environment()) for _ in range(2)]
    assert [ended(driver)[0] for driver in drivers] == [0, 0]
    assert len(list_manifests(storage, "s3://twins/out")) == NUM_SHARDS
    done = [e for e in read_events(storage, "s3://twins/out") if e["event"] == "shard_done"]
    assert len(done) == NUM_SHARDS


def test_of_two_identities_on_one_s3_output_one_is_refused(tmp_path: Path, s3: S3Server) -> None:
    write_shard(tmp_path / "a.tar", pairs(2))
    bucket = Storage({"s3": s3.storage_options()}).filesystem("s3://rivals")[0]
    bucket.mkdir("rivals")
    more = ("--wait-for-output", "--codec-option")
    drivers = [
        start(
            command(tmp_path, "s3://rivals/out", *more, f"overlap_seconds={overlap}"),
            **s3.environment(),
        )
        for overlap in ("10", "5")
    ]
    (winner, _), (loser, error) = sorted(map(ended, drivers))
    assert (winner, loser) == (0, 2)
    assert "codec.options.overlap_seconds: output has" in error


def test_a_driver_on_an_output_in_work_is_refused_and_told_whose_it_is(
    inputs: Path, expected: dict[str, bytes], tmp_path: Path
) -> None:
    first = start(command(inputs, tmp_path), "-c", PATIENT_LEASE + SLOW)
    wait_for((tmp_path / "lease/1.json").exists, "the lease")
    second = start(command(inputs, tmp_path), "-c", PATIENT_LEASE + SLOW)
    code, errors = ended(second)
    assert code == 1
    assert f"is in work by process {first.pid} on `{socket.gethostname()}`, started 20" in errors
    assert "`--wait-for-output`" in errors
    assert ended(first)[0] == 0
    assert snapshot(tmp_path) == expected
    assert [path.name for path in (tmp_path / "lease").iterdir()] == ["1.json"]


@pytest.mark.slow
def test_a_driver_that_was_stalled_stops_without_another_manifest(
    inputs: Path, expected: dict[str, bytes], tmp_path: Path
) -> None:
    stalled = start(command(inputs, tmp_path), "-c", QUICK_LEASE + SLOW)
    wait_for(lambda: has_manifest(tmp_path) or stalled.poll() is not None, "the first shard")
    stalled.send_signal(signal.SIGSTOP)
    other = start(command(inputs, tmp_path), "-c", QUICK_LEASE + SLOW)
    assert ended(other)[0] == 0
    manifests = {p: p.stat().st_mtime_ns for p in (tmp_path / "manifests").rglob("*.json")}
    stalled.send_signal(signal.SIGCONT)
    code, errors = ended(stalled)
    assert code == 1
    assert f"was taken over by process {other.pid} on" in errors
    assert "Traceback" not in errors
    assert {p: p.stat().st_mtime_ns for p in manifests} == manifests
    assert snapshot(tmp_path) == expected


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGINT])
def test_a_driver_that_is_stopped_while_it_loads_gives_the_output_back(
    sign: signal.Signals, inputs: Path, tmp_path: Path
) -> None:
    driver = start(command(inputs, tmp_path), "-c", LOADS_FOR_EVER)
    wait_for((tmp_path / "lease/1.json").exists, "the lease")
    driver.send_signal(sign)
    code, errors = ended(driver)
    assert code == {signal.SIGTERM: 143, signal.SIGINT: 130}[sign]
    assert "the same command resumes" in errors
    assert '"is_released": true' in (tmp_path / "lease/1.json").read_text()


def start_encoding(script: str, inputs: Path, output: Path) -> subprocess.Popen[bytes]:
    words = [sys.executable, "-c", script, *command(inputs, output)]
    driver = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert driver.stdout is not None
    assert driver.stdout.readline() == b"encoding\n"
    return driver


def test_ctrl_c_says_so_at_once_and_waits_for_no_clip_that_is_queued(
    inputs: Path, tmp_path: Path
) -> None:
    driver = start_encoding(QUEUED, inputs, tmp_path)
    time.sleep(1)
    driver.send_signal(signal.SIGINT)
    sent = time.monotonic()
    assert driver.stderr is not None
    assert driver.stderr.readline() == b"\n"
    said = driver.stderr.readline().decode()
    assert time.monotonic() - sent < 5
    assert said.startswith("Ending on Ctrl-C; waiting for workers to stop; they leave shards")
    assert said.endswith("once more ends at once\n")
    output, errors = (text.decode() for text in driver.communicate(timeout=300))
    assert driver.returncode == 130
    assert errors.strip() == "xytok tokenize: interrupted; the same command resumes"
    # Sixty clips are queued; that of the moment and perhaps the next one are begun.
    assert output.count("encoding") <= 2


def test_ctrl_c_waits_for_no_pack_that_the_codec_has_in_hand(inputs: Path, tmp_path: Path) -> None:
    driver = start_encoding(NEVER_DONE, inputs, tmp_path)
    driver.send_signal(signal.SIGINT)
    sent = time.monotonic()
    code, errors = ended(driver)
    assert code == 130
    assert "interrupted; the same command resumes" in errors
    assert "terminate called" not in errors
    assert '"is_released": true' in (tmp_path / "lease/1.json").read_text()
    assert time.monotonic() - sent < 9


def test_a_second_ctrl_c_ends_at_once(inputs: Path, tmp_path: Path) -> None:
    script = NEVER_DONE.replace("def hang", "worker_host._JOIN_SECONDS = 600\ndef hang")
    driver = start_encoding(script, inputs, tmp_path)
    driver.send_signal(signal.SIGINT)
    assert driver.stderr is not None
    assert driver.stderr.readline() + driver.stderr.readline()
    driver.send_signal(signal.SIGINT)
    assert ended(driver) == (130, "")
