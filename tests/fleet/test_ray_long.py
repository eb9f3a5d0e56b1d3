"""The long forms on real Ray: ten random kills, lost nodes, drivers stopped, jobs submitted."""

import contextlib
import os
import random
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray

from jobs import cli
from pipeline.corpus.rules import ReadRules
from pipeline.fleet.engine import InlineEngine
from pipeline.fleet.metrics import COUNTERS, GAUGES
from pipeline.fleet.run import run_tokenize
from pipeline.output.manifest import list_manifests
from pipeline.storage.client import Storage
from pipeline.storage.retries import RetryPolicy
from tests.support.faulty_codecs import SpillingRequest
from tests.support.full_size_codec import FullSizeRequest
from tests.support.places import SPEECH
from tests.support.ray_runs import (
    NODE,
    RayRun,
    make_shards,
    ray_cluster_of,
    request_for,
    snapshot,
    undisturbed,
    wait_for,
)
from tests.support.s3_server import S3Server, s3_server
from tests.support.tmpfs import fill, mounted_tmpfs

pytestmark = pytest.mark.slow
NUM_SHARDS = 16


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    with ray_cluster_of(num_cpus=3, include_dashboard=True) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_shards(tmp_path_factory.mktemp("long-in"), NUM_SHARDS, num_clips=40)


@pytest.fixture(scope="module")
def expected(inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return undisturbed(inputs, tmp_path_factory.mktemp("long-undisturbed"))


def test_ten_kills_at_random_moments_and_a_rerun_cost_no_clip(
    cluster: Any, inputs: Path, expected: dict[str, bytes], tmp_path: Path
) -> None:
    rng = random.Random(7)
    run = RayRun(inputs, tmp_path, workers=2).start()
    for _ in range(10):
        time.sleep(rng.uniform(0.2, 3.0))
        if run.worker_pids and run.num_done() < NUM_SHARDS:
            run.kill_worker(rng.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGTERM]))
    run.finish()
    # Shards killed too often are quarantined; the same command takes them up again.
    assert RayRun(inputs, tmp_path).start().finish().shards_total == NUM_SHARDS
    assert snapshot(tmp_path) == expected


def test_a_crashed_s3_server_that_comes_back_costs_no_clip(
    cluster: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    inputs = make_shards(tmp_path / "in", 6)
    with s3_server(tmp_path / "s3") as server:
        # Two tries, so that the outage is longer than what the workers wait for by themselves.
        storage = Storage({"s3": server.storage_options()}, RetryPolicy(attempts=2))
        bucket_of(server).put(str(inputs), "crash/in", recursive=True)
        expected = undisturbed("s3://crash/in", tmp_path / "calm", storage)
        run = RayRun("s3://crash/in", "s3://crash/out", storage=storage).start_together()
        server.stop(signal.SIGKILL)
        wait_for(lambda: "the run pauses" in caplog.text, "the pause")
        server.start()
        assert run.finish().done == 6
        assert snapshot("s3://crash/out", storage) == expected
    assert "Storage answers again after" in caplog.text
    assert run.engine.verdicts == []


def bucket_of(server: S3Server) -> Any:
    filesystem = Storage({"s3": server.storage_options()}).filesystem("s3://crash")[0]
    filesystem.mkdir("crash")
    return filesystem


def test_a_node_whose_disk_fills_up_is_set_aside_and_others_do_its_shards(
    cluster: Any,
    inputs: Path,
    expected: dict[str, bytes],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with mounted_tmpfs(tmp_path, "size=1m") as disk:
        node = cluster.add_node(num_cpus=1, env_vars={"TMPDIR": str(disk)}, **NODE)
        codec = SpillingRequest("fake")
        run = RayRun(inputs, tmp_path / "out", workers=4, codec=codec).start_together()
        fill(disk)
        try:
            assert run.finish().done == NUM_SHARDS
        finally:
            cluster.remove_node(node, allow_graceful=False)
    assert run.engine.avoided_nodes == {node.node_id}
    assert "for unfinished parts cannot be written" in caplog.text
    assert snapshot(tmp_path / "out") == expected


def driver(cluster: Any, inputs: Path, output: Path, *more: str) -> subprocess.Popen[bytes]:
    words = ["tokenize", str(inputs), str(output), "--codec", "fake", "--cluster", cluster.address]
    options = ["--workers", "1", "--cpus-per-worker", "1", "--decode-threads", "1", *more]
    command = [sys.executable, "-m", "jobs", *words, *options]
    return subprocess.Popen(command, stderr=subprocess.PIPE, env=os.environ | {"TERM": "dumb"})


def ended(process: subprocess.Popen[bytes]) -> int:
    process.communicate(timeout=300)
    return process.returncode


def plain(inputs: Path, output: Path) -> dict[str, bytes]:
    words = ["tokenize", str(inputs), str(output), "--codec", "fake", "--engine", "inline"]
    assert cli.run([*words, "--quiet"]) == 0
    return snapshot(output)


@pytest.fixture(scope="module")
def many_shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """So many that a driver is stopped before it is through."""
    return make_shards(tmp_path_factory.mktemp("many"), 40, num_clips=60)


@pytest.fixture(scope="module")
def many_parts(many_shards: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return plain(many_shards, tmp_path_factory.mktemp("many-plain"))


@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGTERM])
def test_a_stopped_driver_resumes_to_the_same_bytes(
    cluster: Any,
    sign: signal.Signals,
    many_shards: Path,
    many_parts: dict[str, bytes],
    tmp_path: Path,
) -> None:
    inputs, output = many_shards, tmp_path / "out"
    process = driver(cluster, inputs, output)
    wait_for(lambda: list(output.glob("manifests/**/*.json")) or process.poll(), "a shard")
    process.send_signal(sign)
    _, error = process.communicate(timeout=300)
    assert process.returncode != 0
    if sign == signal.SIGTERM:
        assert process.returncode == 143
        assert b"the same command resumes" in error
    assert ended(driver(cluster, inputs, output)) == 0
    assert snapshot(output) == many_parts


def test_two_ray_drivers_on_one_output_leave_the_same_bytes(cluster: Any, tmp_path: Path) -> None:
    inputs, output = make_shards(tmp_path / "in", 6), tmp_path / "out"
    drivers = [driver(cluster, inputs, output, "--wait-for-output") for _ in range(2)]
    assert [ended(process) for process in drivers] == [0, 0]
    assert snapshot(output) == plain(inputs, tmp_path / "plain")


# Ray's job client opens its log socket the way aiohttp has begun to advise against.
@pytest.mark.filterwarnings("ignore:ssl=None is deprecated:DeprecationWarning")
@pytest.mark.parametrize("code", [0, 3])
def test_a_submitted_job_is_followed_and_its_exit_code_returned(
    cluster: Any, tmp_path: Path, code: int, capfd: Any
) -> None:
    url = "http://" + str(cluster.head_node.webui_url)
    inputs, output = make_shards(tmp_path / "in", 2), tmp_path / "out"
    words = [str(inputs), str(output), "--codec", "fake", "--workers", "1"]
    if code:
        inputs.joinpath("000.tar").write_bytes(b"no tar at all, but long enough" * 100)
    assert cli.run(["submit", "--cluster", url, *words, "--cpus-per-worker", "1"]) == code
    assert len(list_manifests(Storage(), str(output))) == 2
    assert "clips" in capfd.readouterr().out


def test_the_full_size_codec_gives_the_same_parts_through_ray(cluster: Any, tmp_path: Path) -> None:
    inputs = SPEECH / "Emilia" / "IT"
    rules = ReadRules(limit=2)
    codec = FullSizeRequest("full-size")
    request = request_for(inputs, tmp_path / "inline", rules)
    assert run_tokenize(request, InlineEngine(codec)).codes == 2
    run = RayRun(inputs, tmp_path / "ray", 1, codec, rules=rules).start()
    assert run.finish(600).codes == 2
    assert snapshot(tmp_path / "ray") == snapshot(tmp_path / "inline")


def test_rays_prometheus_endpoint_has_the_counters(
    cluster: Any, inputs: Path, tmp_path: Path
) -> None:
    assert RayRun(inputs, tmp_path).start().finish().done == NUM_SHARDS
    ports = [node["MetricsExportPort"] for node in ray.nodes() if node["Alive"]]

    def clips() -> float:
        return sum(map(float, re.findall(r"xytok_clips(?:_total)?{[^}]*} (\S+)", scraped(ports))))

    assert wait_for(clips, "the counters") >= NUM_SHARDS * 40
    # The names that the dashboard asks for; nothing was rejected, filtered or failed.
    page = scraped(ports)
    wanted = {f"ray_xytok_{name}_total" for name in COUNTERS}
    wanted -= {f"ray_xytok_{name}_total" for name in ("rejects", "filtered", "shards_failed")}
    wanted |= {f"ray_xytok_{name}" for name in GAUGES}
    assert not [name for name in wanted if f"\n{name}{{" not in page]


def scraped(ports: list[int]) -> str:
    pages = []
    for port in ports:
        with (
            contextlib.suppress(OSError),
            urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as page,
        ):
            pages.append(page.read().decode())
    return "\n".join(pages)
