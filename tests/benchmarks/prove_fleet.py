"""Proves the fleet at its real size: simulated clusters of a thousand workers, and real kills.

`make prove-fleet` runs all of it and prints a table for RESULTS.md. The simulation has the real
driver and no real workers; the kills have a real S3 server, real Ray nodes and real processes.
"""

import argparse
import logging
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.output.manifest import list_manifests
from pipeline.storage.client import Storage
from tests.support.faulty_codecs import SpillingRequest
from tests.support.fleet_simulation import Cluster, failures, run_simulation, world
from tests.support.ray_runs import (
    LOCAL,
    NODE,
    RayRun,
    make_shards,
    ray_cluster_of,
    snapshot,
    undisturbed,
    wait_for,
)
from tests.support.s3_server import S3Server, s3_server
from tests.support.tmpfs import fill, mounted_tmpfs

SMALL_SEEDS = range(1_000, 2_000)
BIG = (250_000, 1_000)
KILLS = 20
POOL_CALLS = (
    "live_nodes",
    "grow",
    "submit",
    "ask_progress",
    "next_report",
    "retire",
    "retire_pending",
)


def prove_seeds(seeds: range) -> str:
    """Small clusters, one a seed."""
    started = time.process_time()
    for seed in seeds:
        cluster, shards = world(seed, 300, 20)
        wrong = list(failures(run_simulation(cluster, shards)))
        if wrong:
            sys.exit(f"seed {seed}: {wrong}")
    seconds = time.process_time() - started
    return f"{len(seeds):,} seeds of 300 shards x 20 workers | 0 wrong | {seconds:.0f} s"


def prove_big(num_shards: int, num_workers: int) -> str:
    """One large cluster, with what a shard costs the driver."""
    cluster, shards = world(7, num_shards, num_workers)
    simulated = [time_pool(cluster, name) for name in POOL_CALLS]
    started = time.thread_time()
    result = run_simulation(cluster, shards)
    seconds = time.thread_time() - started
    cluster_seconds = sum(each[0] for each in simulated)
    wrong = list(failures(result))
    if wrong:
        sys.exit(f"{num_shards} shards: {wrong[:5]}")
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    driver, simulation = (
        1000 * each / num_shards for each in (seconds - cluster_seconds, cluster_seconds)
    )
    return (
        f"{num_shards:,} shards x {num_workers:,} workers, {cluster.now / 3600:.0f} h simulated "
        f"| driver {driver:.2f} ms a shard (limit 1), simulated cluster {simulation:.2f} ms "
        f"| {memory:.0f} MB"
    )


def time_pool(cluster: Cluster, name: str) -> list[float]:
    """Let a method of the simulated cluster note the time it takes, which is not the driver's."""
    spent = [0.0]
    call = getattr(cluster, name)

    def timed(*rest: Any) -> Any:
        started = time.thread_time()
        try:
            return call(*rest)
        finally:
            spent[0] += time.thread_time() - started

    setattr(cluster, name, timed)
    return spent


@dataclass(frozen=True)
class Kills:
    """Runs from an S3 server to itself on a cluster, each disturbed once.

    All processes find the server in the environment and its keys in the credentials file.
    """

    cluster: Any
    server: S3Server
    root: Path
    rng: random.Random
    storage: Storage = LOCAL  # with no options of its own
    inputs: str = "s3://kills/in"

    def all(self, count: int) -> Iterator[str]:
        """Disturb so many runs, in every way by turns."""
        self.write_keys()
        filesystem, _ = self.storage.filesystem("s3://kills")
        filesystem.mkdir("kills")
        local = make_shards(self.root / "in", 12, num_clips=30)
        filesystem.put(str(local), "kills/in", recursive=True)
        slow = undisturbed(self.inputs, self.root / "calm", self.storage)
        # A command has no slow decoder, which is part of what outputs say of themselves.
        subprocess.run(self.command("s3://kills/calm"), check=True)
        quick = snapshot("s3://kills/calm", self.storage)
        ways = [self.worker, self.node, self.driver, self.disk, self.server_crash, self.credentials]
        for number in range(count):
            output, way = f"s3://kills/out{number}", ways[number % len(ways)]
            what = way(output)
            if snapshot(output, self.storage) != (quick if way == self.driver else slow):
                sys.exit(f"kill {number}: {what}: the bytes differ")
            yield f"{what} | equal bytes | -"

    def write_keys(self) -> None:
        """Write the keys that the server takes now."""
        keys = self.server.environment()
        lines = ["[default]"] + [
            f"{name.lower()} = {keys[name]}"
            for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
        ]
        Path(os.environ["AWS_SHARED_CREDENTIALS_FILE"]).write_text("\n".join(lines))

    def run(self, output: str, workers: int = 2, **options: Any) -> RayRun:
        """Start a run and wait for its first shard."""
        return RayRun(
            self.inputs, output, workers, storage=self.storage, **options
        ).start_together()

    def command(self, output: str) -> list[str]:
        """A run as users start it."""
        words = [self.inputs, output, "--codec", "fake", "--workers", "2", "--cpus-per-worker", "1"]
        where = ["--cluster", self.cluster.address, "--quiet"]
        return [sys.executable, "-m", "jobs", "tokenize", *words, *where]

    def worker(self, output: str) -> str:
        """A worker dies, or gets the notice of a spot node."""
        run, sign = self.run(output), self.rng.choice([signal.SIGKILL, signal.SIGTERM])
        wait = self._wait(6)
        run.kill_worker(sign)
        return f"{sign.name} to a worker after {wait}{left_by(run)}"

    def node(self, output: str) -> str:
        """The node of one worker is torn away."""
        with self._node() as node:
            run = self.run(output, 3)
            wait = self._wait(6)
            self.cluster.remove_node(node, allow_graceful=False)
            return f"a node lost after {wait}{left_by(run)}"

    def disk(self, output: str) -> str:
        """The disk of one node fills up."""
        folder = Path(tempfile.mkdtemp(dir=self.root))
        with (
            mounted_tmpfs(folder, "size=1m") as disk,
            self._node(env_vars={"TMPDIR": str(disk)}),
        ):
            run = self.run(output, 3, codec=SpillingRequest("fake"))
            wait = self._wait(3)
            fill(disk)
            return f"the disk of a node full after {wait}{left_by(run)}"

    def driver(self, output: str) -> str:
        """The driver dies; the same command goes on."""
        first = subprocess.Popen(self.command(output))
        wait_for(lambda: list_manifests(self.storage, output) or first.poll(), "a shard")
        wait = self._wait(1)
        first.kill()
        first.wait()
        if code := subprocess.run(self.command(output)).returncode:
            sys.exit(f"the second driver ended with exit code {code}")
        return f"SIGKILL to the driver {wait} after its first shard"

    def server_crash(self, output: str) -> str:
        """The S3 server crashes and comes back after up to a minute."""
        run = self.run(output)
        wait = self._wait(3)
        self.server.stop(signal.SIGKILL)
        gone = self._wait(60)
        self.server.start(self.server.secret)
        return f"the S3 server crashed after {wait}, for {gone}{left_by(run)}"

    def credentials(self, output: str) -> str:
        """The keys expire; some time later new ones stand in the credentials file."""
        run = self.run(output)
        wait = self._wait(3)
        self.server.stop(signal.SIGKILL)
        self.server.start(f"{self.server.secret}-renewed")
        gone = self._wait(30)
        self.write_keys()
        return f"keys expired after {wait}, renewed after {gone}{left_by(run)}"

    def _wait(self, longest: float) -> str:
        seconds = self.rng.uniform(0, longest)
        time.sleep(seconds)
        return f"{seconds:.1f} s"

    @contextmanager
    def _node(self, **options: Any) -> Iterator[Any]:
        node = self.cluster.add_node(num_cpus=1, **NODE, **options)
        try:
            yield node
        finally:
            with suppress(Exception):
                self.cluster.remove_node(node, allow_graceful=False)


def left_by(run: RayRun) -> str:
    """Wait for the end of a run; nothing if it did all of it."""
    summary = run.finish(600)
    return f": {len(summary.failed)} shards failed" if summary.failed else ""


def prove_kills(count: int, seed: int) -> Iterator[str]:
    """Disturb runs at random moments; the bytes equal those of a calm run."""
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory(prefix="xytok-prove-") as folder:
        root = Path(folder)
        with s3_server(root / "s3") as server:
            os.environ |= {
                "AWS_SHARED_CREDENTIALS_FILE": str(root / "credentials"),
                "AWS_ENDPOINT_URL": server.url,
                "AWS_DEFAULT_REGION": "us-east-1",
            }
            with ray_cluster_of(2) as cluster:
                yield from Kills(cluster, server, root, rng).all(count)


def main() -> None:
    """Prove what the arguments name, all by default."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=len(SMALL_SEEDS))
    parser.add_argument("--shards", type=int, default=BIG[0])
    parser.add_argument("--workers", type=int, default=BIG[1])
    parser.add_argument("--kills", type=int, default=KILLS)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 16))
    wanted = parser.parse_args()
    logging.getLogger("pipeline").setLevel(logging.CRITICAL)
    print(f"seed of the kills: {wanted.seed}; {os.cpu_count()} cores")
    print("| what | result | cost |\n|---|---|---|")
    if wanted.seeds:
        print(f"| {prove_seeds(SMALL_SEEDS[: wanted.seeds])} |", flush=True)
    if wanted.shards:
        print(f"| {prove_big(wanted.shards, wanted.workers)} |", flush=True)
    for line in prove_kills(wanted.kills, wanted.seed) if wanted.kills else ():
        print(f"| {line} |", flush=True)


if __name__ == "__main__":
    main()
