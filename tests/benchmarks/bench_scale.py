"""How the driver scales: scheduling, Ray calls, and the start of a worker.

Run it with `make bench-scale`; every figure is printed with what it is measured on. Resuming is in
`bench_outputs.py`.
"""

import argparse
import hashlib
import heapq
import os
import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

from pipeline.corpus.shard import Shard
from pipeline.fleet.pool import Accepted, Loaded, Returned, WorkerStart
from pipeline.fleet.ray.pool import RayPool
from pipeline.fleet.scheduler import Scheduler
from pipeline.fleet.worker_count import FleetSize
from pipeline.output.manifest import Manifest, WrittenFile
from pipeline.worker.codec_request import CodecRequest
from pipeline.worker.settings import WorkerSettings
from pipeline.worker.writer import ShardOutcome
from xy_codec.fake import FakeCodec

IDENTITY8 = "0123abcd"
LOAD_MINUTES = 30.0


@dataclass(frozen=True)
class Figure:
    what: str
    value: str
    limit: str = ""

    def __str__(self) -> str:
        return f"| {self.what} | {self.value} | {self.limit} |"


def make_shards(count: int) -> list[Shard]:
    return [Shard(f"s3://b/{n}.tar", f"{n}.tar", n * 7919 % 10_007, "e") for n in range(count)]


def bench_scheduler(num_shards: int, num_workers: int) -> Figure:
    """Hand out and take back every shard; workers take as long as their shard is large."""
    scheduler = Scheduler(make_shards(num_shards))
    due: list[tuple[float, str, str]] = []
    spent, now = 0.0, 0.0
    for number in range(num_workers):
        started = time.perf_counter()
        scheduler.add_worker(f"w{number}")
        spent += time.perf_counter() - started
    idle = [f"w{number}" for number in range(num_workers)] * 2
    while scheduler.num_left:
        for worker in idle:
            started = time.perf_counter()
            assignment = scheduler.take(worker)
            spent += time.perf_counter() - started
            if assignment:
                ends = now + 1 + assignment.shard.size_bytes
                heapq.heappush(due, (ends, worker, assignment.shard.path))
        now, worker, path = heapq.heappop(due)
        started = time.perf_counter()
        scheduler.finish(worker, path)
        spent += time.perf_counter() - started
        idle = [worker]
    each = spent / num_shards * 1000
    what = f"scheduler alone, {num_shards:,} shards x {num_workers:,} simulated workers"
    return Figure(what, f"{each:.4f} ms a shard", "< 1 ms")


class IdleWorker:
    """Stands where `RayWorker` stands and does nothing, so that only Ray is measured."""

    def node(self) -> str:
        """Tell a node like a worker."""
        return "node"

    def load(self, _request: CodecRequest, _limit_seconds: float) -> WorkerStart:
        """Start like a worker."""
        return WorkerStart(FakeCodec().identity, "node", "node", 0, 0.0, 0.0)

    def accept(self, _settings: WorkerSettings, _shard: Shard) -> bool:
        """Take a shard like a worker."""
        return True

    def outcome(self, shard: Shard) -> ShardOutcome:
        """Answer like a worker."""
        return ShardOutcome(shard, _manifest(shard), 0.0, worker="idle")


def bench_ray_calls(num_workers: int, num_shards: int) -> list[Figure]:
    """Submit, wait and schedule on real actors that answer at once."""
    with mock.patch("pipeline.fleet.ray.pool.RayWorker", IdleWorker):
        fleet = RayPool(CodecRequest("fake"), LOAD_MINUTES)
        started = time.perf_counter()
        fleet.grow(FleetSize(0, 0.01, 0), num_workers, ())
        scheduler = Scheduler(make_shards(num_shards))
        ready = 0
        while ready < num_workers:
            report = fleet.next_report(60)
            assert isinstance(report, Loaded), report
            scheduler.add_worker(report.worker)
            ready += 1
        up = time.perf_counter() - started
        spent = _drive(fleet, scheduler, num_workers)
        fleet.retire_all()
    each = spent / num_shards * 1000
    return [
        Figure(
            f"submit and wait, {num_workers} real actors, {num_shards:,} calls",
            f"{each:.2f} ms a shard",
        ),
        Figure(f"{num_workers} empty actors until all answer", f"{up:.1f} s"),
    ]


def _drive(fleet: RayPool, scheduler: Scheduler[Shard], num_workers: int) -> float:
    settings = _settings()
    started = time.perf_counter()
    workers = list(fleet.starts) * 2
    while scheduler.num_left:
        for worker in workers:
            assignment = scheduler.take(worker)
            if assignment:
                fleet.submit(worker, settings, assignment.shard)
        report = fleet.next_report(60)
        if isinstance(report, Accepted):
            workers = []
            continue
        assert isinstance(report, Returned), report
        scheduler.finish(report.worker, report.shard.path)
        workers = [report.worker]
    return time.perf_counter() - started


def _settings() -> WorkerSettings:
    from pipeline.corpus.rules import ReadRules
    from tests.support.inline_run import worker_settings

    return worker_settings(Path("/nowhere"), ReadRules())


def _manifest(shard: Shard) -> Manifest:
    file = WrittenFile("x", 1, hashlib.sha256(b"").hexdigest(), 1)
    return Manifest(
        shard.path, shard.url, shard.size_bytes, shard.etag, IDENTITY8, 2, 1, 1, 0, 0, 9, 9, 9.0,
        file, file,
    )  # fmt: skip


def bench_worker_start(codec: str, rounds: int) -> list[Figure]:
    """From asking for an actor until it is ready to take shards."""
    totals, imports, loads = [], [], []
    for _ in range(rounds):
        fleet = RayPool(CodecRequest(codec), LOAD_MINUTES)
        started = time.perf_counter()
        fleet.grow(FleetSize(0, 1, 1), 1, ())
        report = fleet.next_report(300)
        totals.append(time.perf_counter() - started)
        assert isinstance(report, Loaded)
        assert report.start is not None, report.fault
        imports.append(report.start.import_seconds)
        loads.append(report.start.load_seconds)
        fleet.retire_all()
    named = zip(("in all", "imports", "codec"), (totals, imports, loads), strict=True)
    return [
        Figure(f"worker start with `{codec}`, {name}", f"{statistics.median(values):.2f} s")
        for name, values in named
    ]


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shards", type=int, default=10_000)
    parser.add_argument("--workers", type=int, default=1000, help="simulated")
    parser.add_argument("--actors", type=int, default=4, help="real")
    parser.add_argument("--calls", type=int, default=1000)
    parser.add_argument("--codec", default="xy-nano")
    parser.add_argument("--rounds", type=int, default=3)
    return parser.parse_args()


def main() -> None:
    args = parse_arguments()
    print("| what | measured | limit |\n|---|---|---|", flush=True)
    print(bench_scheduler(args.shards, args.workers), flush=True)
    from tests.support.ray_runs import ray_cluster_of

    with ray_cluster_of(num_cpus=2):
        for figure in bench_worker_start(args.codec, args.rounds):
            print(figure, flush=True)
        for figure in bench_ray_calls(args.actors, args.calls):
            print(figure, flush=True)
    print(f"\n{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the end")


if __name__ == "__main__":
    main()
