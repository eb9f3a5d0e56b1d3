"""Ray workers may die in any way: the output equals that of a run that nothing disturbed."""

import logging
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from string import ascii_lowercase
from typing import Any

import pytest
import ray

from pipeline.corpus.listing import list_shards
from pipeline.corpus.rules import ReadRules
from pipeline.errors import WorkerError
from pipeline.fleet.pool import Loaded
from pipeline.fleet.quarantine import QuarantinePolicy
from pipeline.fleet.ray.engine import RayEngine
from pipeline.fleet.ray.options import RayOptions
from pipeline.fleet.ray.pool import RayPool
from pipeline.fleet.summary import RunSummary
from pipeline.fleet.worker_count import FleetSize
from pipeline.storage.client import Storage
from pipeline.worker.codec_request import CodecRequest
from tests.support.faulty_codecs import (
    ABORT,
    DEADLY_SECONDS,
    HANG,
    DeadlyRequest,
    ImpatientRequest,
)
from tests.support.ray_runs import (
    NODE,
    RayRun,
    make_shards,
    ray_cluster_of,
    snapshot,
    undisturbed,
    wait_for,
)
from tests.support.shard_maker import pair, pairs, write_shard

NUM_SHARDS = 8


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Real Ray on this machine, to which nodes can be added and from which they can be torn."""
    with ray_cluster_of(num_cpus=2) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_shards(tmp_path_factory.mktemp("ray-in"), NUM_SHARDS)


@pytest.fixture(scope="module")
def expected(inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return undisturbed(inputs, tmp_path_factory.mktemp("ray-undisturbed"))


def only_failure(summary: RunSummary, done: int, tar: str) -> tuple[str, str]:
    """URL and reason of the one shard that failed, beside those that are done."""
    assert summary.done == done
    (failed,) = summary.failed
    assert failed[0].endswith(tar)
    return failed


def test_ray_and_inline_runs_are_equal_and_a_second_run_does_nothing(
    cluster: Any, inputs: Path, expected: dict[str, bytes], tmp_path: Path
) -> None:
    assert RayRun(inputs, tmp_path).start().finish().done == NUM_SHARDS
    assert snapshot(tmp_path) == expected
    again = RayRun(inputs, tmp_path).start().finish()
    assert (again.done, again.shards_skipped) == (0, NUM_SHARDS)


def test_a_worker_with_a_spot_notice_finishes_what_it_has(
    cluster: Any, inputs: Path, expected: dict[str, bytes], tmp_path: Path
) -> None:
    run = RayRun(inputs, tmp_path).start_together()
    run.kill_worker(signal.SIGTERM)
    assert run.finish().done == NUM_SHARDS
    assert snapshot(tmp_path) == expected


def test_the_only_worker_with_a_spot_notice_is_replaced(
    cluster: Any, inputs: Path, expected: dict[str, bytes], tmp_path: Path
) -> None:
    run = RayRun(inputs, tmp_path, workers=1).start_together()
    run.kill_worker(signal.SIGTERM)
    assert run.finish().done == NUM_SHARDS
    assert snapshot(tmp_path) == expected


def test_of_workers_that_still_load_only_those_too_many_are_ended(cluster: Any) -> None:
    pool = RayPool(CodecRequest("fake"), load_minutes=1)
    pool.grow(FleetSize(gpus_per_worker=0, cpus_per_worker=1, num_workers=4), 4, ())
    try:
        pool.retire_pending(1)
        assert pool.num_members == 3
        pool.retire_pending(9)
        assert pool.num_members == 0
    finally:
        pool.retire_all()


def test_a_lost_node_costs_no_clip_and_blames_no_shard(
    cluster: Any, inputs: Path, expected: dict[str, bytes], tmp_path: Path
) -> None:
    node = cluster.add_node(num_cpus=1, **NODE)
    run = RayRun(inputs, tmp_path, workers=3).start_together()
    cluster.remove_node(node, allow_graceful=False)
    assert run.finish().done == NUM_SHARDS
    assert snapshot(tmp_path) == expected
    assert not run.engine.verdicts


def test_a_clip_that_kills_its_process_is_one_reject_and_its_neighbours_are_codes(
    cluster: Any, tmp_path: Path
) -> None:
    bad = [("bad.mp3", ABORT)]
    write_shard(tmp_path / "in" / "0.tar", [*pairs(3, 0.4), *bad, *pairs(3, 0.4, prefix="z")])
    write_shard(tmp_path / "in" / "1.tar", pairs(4, 0.4, prefix="y"))
    summary = RayRun(tmp_path / "in", tmp_path / "out").start().finish()
    assert (summary.done, summary.codes) == (2, 10)
    assert dict(summary.rejects) == {"crashed_decoder": 1}


def test_a_shard_that_kills_every_worker_is_named_and_the_others_are_done(
    cluster: Any, tmp_path: Path
) -> None:
    make_shards(tmp_path / "in", 3, num_clips=3)
    write_shard(tmp_path / "in" / "deadly.tar", pair("deadly", DEADLY_SECONDS))
    strict = QuarantinePolicy(isolate_at_death=1, quarantine_at_strike=2, max_deaths=2)
    run = RayRun(tmp_path / "in", tmp_path / "out", 2, DeadlyRequest("ends"), strict).start()
    failed = only_failure(run.finish(), 3, "deadly.tar")
    assert re.search("quarantined|given up", failed[1])
    again = RayRun(tmp_path / "in", tmp_path / "out", 1, DeadlyRequest("ends"), strict).start()
    assert [url for url, _ in again.finish().failed] == [failed[0]]


def test_a_shard_that_breaks_its_worker_fails_and_its_companions_are_done(
    cluster: Any, tmp_path: Path
) -> None:
    make_shards(tmp_path / "in", 4, num_clips=3)
    write_shard(tmp_path / "in" / "breaking.tar", pair("breaking", DEADLY_SECONDS))
    run = RayRun(tmp_path / "in", tmp_path / "out", 1, DeadlyRequest("raises")).start()
    failed = only_failure(run.finish(), 4, "breaking.tar")
    assert "this clip breaks the codec" in failed[1]


def test_a_fault_of_the_only_node_ends_the_run_and_blames_no_shard(
    cluster: Any, tmp_path: Path
) -> None:
    make_shards(tmp_path / "in", 2, num_clips=3)
    write_shard(tmp_path / "in" / "innocent.tar", pair("innocent", DEADLY_SECONDS))
    run = RayRun(tmp_path / "in", tmp_path / "out", 1, DeadlyRequest("no process")).start()
    with pytest.raises(WorkerError, match="no process starts here"):
        run.finish()
    assert run.num_done() == 2
    assert run.engine.verdicts == []


def test_a_node_that_cannot_do_the_work_is_left_out_and_blames_no_shard(
    cluster: Any, tmp_path: Path
) -> None:
    before = {node["NodeID"] for node in ray.nodes()}
    node = cluster.add_node(num_cpus=2, **NODE)
    (node_id,) = {node["NodeID"] for node in ray.nodes()} - before
    # More than one worker reads ahead, so that each has some.
    for name in ascii_lowercase:
        write_shard(tmp_path / "in" / f"{name}.tar", pair(name, DEADLY_SECONDS))
    run = RayRun(tmp_path / "in", tmp_path / "out", 4, DeadlyRequest(node_id)).start_together()
    try:
        assert run.finish().done == 26
    finally:
        cluster.remove_node(node, allow_graceful=False)
    assert run.engine.avoided_nodes == {node_id}
    assert run.engine.verdicts == []


def test_a_worker_asks_ray_for_its_memory(cluster: Any) -> None:
    pool = RayPool(CodecRequest("fake"), load_minutes=1)
    pool.grow(FleetSize(0, 1, 1, memory_bytes_per_worker=1 << 30), 1, ())
    try:
        assert isinstance(pool.next_report(120), Loaded)

        def requested() -> float:
            total = ray.cluster_resources()["memory"]
            return total - ray.available_resources().get("memory", 0)

        # Nodes of the test before this one may still be counted, and its workers still leave.
        assert wait_for(lambda: requested() == 1 << 30, "only the memory of this worker")
    finally:
        pool.retire_all()


def test_an_encoder_that_never_returns_is_ended_and_its_shard_named(
    cluster: Any, tmp_path: Path
) -> None:
    make_shards(tmp_path / "in", 3, num_clips=3)
    write_shard(tmp_path / "in" / "hanging.tar", pair("hanging", DEADLY_SECONDS))
    strict = QuarantinePolicy(isolate_at_death=1, quarantine_at_strike=2, max_deaths=2)
    run = RayRun(
        tmp_path / "in", tmp_path / "out", 2, DeadlyRequest("hangs"), strict, hang_minutes=0.05
    ).start()
    failed = only_failure(run.finish(), 3, "hanging.tar")
    assert "no progress for 0.05 minutes" in failed[1]


def test_a_checkpoint_that_never_arrives_ends_the_run_and_is_named(
    cluster: Any, inputs: Path, tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/codec.safetensors"
        run = RayRun(inputs, tmp_path, 1, CodecRequest(url), load_minutes=0.02).start()
        with pytest.raises(WorkerError, match=rf"{url}` was not loaded after 0.02 minutes"):
            run.finish()


@pytest.mark.slow
def test_a_decoder_that_never_returns_costs_its_worker_and_then_one_clip(
    cluster: Any, tmp_path: Path
) -> None:
    bad = [("bad.mp3", HANG)]
    write_shard(tmp_path / "in" / "0.tar", [*pairs(3, 0.4), *bad, *pairs(3, 0.4, prefix="z")])
    isolating = QuarantinePolicy(isolate_at_death=1)
    # Longer than a decoding process takes to start, and to be given up for a clip.
    run = RayRun(
        tmp_path / "in",
        tmp_path / "out",
        1,
        ImpatientRequest("fake"),
        isolating,
        hang_minutes=0.4,
    ).start()
    summary = run.finish()
    assert (summary.done, summary.codes) == (1, 6)
    assert dict(summary.rejects) == {"crashed_decoder": 1}


def test_a_stopped_worker_process_is_replaced(
    cluster: Any, inputs: Path, expected: dict[str, bytes], tmp_path: Path
) -> None:
    run = RayRun(inputs, tmp_path, hang_minutes=0.05).start_together()
    run.kill_worker(signal.SIGSTOP)
    assert run.finish().done == NUM_SHARDS
    assert snapshot(tmp_path) == expected


def test_a_worker_that_cannot_measure_the_flip_rate_leaves_it_unknown(
    cluster: Any, inputs: Path, caplog: pytest.LogCaptureFixture
) -> None:
    engine = RayEngine(CodecRequest("fake"), RayOptions(workers=1, cpus_per_worker=1))
    shard = list_shards([str(inputs)], Storage())[0]
    with closing(engine), caplog.at_level(logging.WARNING, "pipeline"):
        engine.identity()
        broken: Any = None  # any use of it fails
        assert engine.flip_rate(shard, broken, ReadRules()) is None
    assert "could not be measured" in caplog.text


@pytest.mark.parametrize(("codec", "is_there"), [("xy-nano", True), ("fake", False)])
def test_the_time_of_imports_has_that_of_torch(codec: str, is_there: bool) -> None:
    lines = (
        "import sys",
        "from pipeline.fleet.ray.actor import import_libraries",
        "from pipeline.worker.codec_request import CodecRequest",
        "assert 'torch' not in sys.modules",
        f"import_libraries(CodecRequest({codec!r}))",
        "print('torch' in sys.modules)",
    )
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"{is_there}\n"


def test_lines_of_ray_workers_have_no_colour_in_files() -> None:
    lines = (
        "import ray, time",
        "from pipeline.fleet.ray.cluster import connect",
        "connect(None)",
        "say = ray.remote(lambda: print('said by a worker'))",
        "ray.get(say.remote())",
        "time.sleep(120)",  # until the test has read the line
    )
    words = [sys.executable, "-c", "\n".join(lines)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        said = next((line for line in process.stdout if "said by a worker" in line), "")
        process.terminate()
    assert said.startswith("(")
