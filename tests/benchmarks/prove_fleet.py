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
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tests.support.fleet_simulation import failures, run_simulation, world
from tests.support.ray_runs import (
    NODE,
    RayRun,
    make_shards,
    ray_cluster_of,
    snapshot,
    undisturbed,
)

SMALL_SEEDS = range(1_000, 2_000)
BIG = (250_000, 1_000)
KILLS = 20


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
    started = time.process_time()
    result = run_simulation(cluster, shards)
    seconds = time.process_time() - started
    wrong = list(failures(result))
    if wrong:
        sys.exit(f"{num_shards} shards: {wrong[:5]}")
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    each = 1000 * seconds / num_shards
    return (
        f"{num_shards:,} shards x {num_workers:,} workers, {cluster.now / 3600:.0f} h simulated "
        f"| {each:.2f} ms a shard, the simulated cluster included (limit 1) | {memory:.0f} MB"
    )


def prove_kills(count: int, seed: int) -> Iterator[str]:
    """Kill a worker or a node at random moments; the bytes equal those of a calm run."""
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory(prefix="xytok-prove-") as folder, ray_cluster_of(2) as cluster:
        root = Path(folder)
        inputs = make_shards(root / "in", 12, num_clips=30)
        expected = undisturbed(inputs, root / "calm")
        for number in range(count):
            kind = rng.choice(["worker", "worker", "spot notice", "node"])
            moment = rng.uniform(0.0, 6.0)
            node = cluster.add_node(num_cpus=1, **NODE) if kind == "node" else None
            run = RayRun(inputs, root / f"out{number}", 3 if node else 2).start_together()
            time.sleep(moment)
            if node is not None:
                cluster.remove_node(node, allow_graceful=False)
            else:
                run.kill_worker(signal.SIGTERM if kind == "spot notice" else signal.SIGKILL)
            summary = run.finish()
            if summary.failed or snapshot(root / f"out{number}") != expected:
                sys.exit(f"kill {number} (seed {seed}): {kind} after {moment:.1f} s")
            yield f"{kind} killed {moment:.1f} s after the first shard | equal bytes | -"


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
