"""Whole clusters in virtual time: every shard ends done, or named for what it did itself.

A failing seed is printed; `run(seed)` reproduces it.
"""

import time

from tests.support.fleet_simulation import failures, run_simulation, world

SECONDS = 45.0
LEAST_SEEDS = 50


def run(seed: int, num_shards: int = 300, num_workers: int = 20) -> list[str]:
    """What is wrong at the end of the simulation of a seed."""
    cluster, shards = world(seed, num_shards, num_workers)
    return [f"seed {seed}: {line}" for line in failures(run_simulation(cluster, shards))]


def test_no_innocent_is_blamed_and_a_run_that_can_finish_does() -> None:
    started = time.monotonic()
    wrong = []
    for seed in range(300):
        wrong += run(seed)
        assert wrong == []
        if seed >= LEAST_SEEDS and time.monotonic() - started > SECONDS:
            break
