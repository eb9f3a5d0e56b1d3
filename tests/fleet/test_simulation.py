"""Whole clusters in virtual time: every shard ends done, or named for what it did itself.

A failing seed is printed; `wrong_in(seed)` reproduces it.
"""

import logging
import os
import subprocess
import sys
import time

import pytest

from pipeline.errors import LeaseError, StorageError, WorkerError
from tests.support.fleet_simulation import (
    Node,
    Rival,
    Trouble,
    failures,
    run_simulation,
    world,
    world_of,
)

SECONDS = 20
LEAST_SEEDS = 50


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    """Thousands of warnings of runs that go wrong on purpose would only take time."""
    caplog.set_level(logging.CRITICAL, "pipeline")


def wrong_in(seed: int, num_shards: int = 300, num_workers: int = 20) -> list[str]:
    """What is wrong at the end of the simulation of a seed."""
    cluster, shards = world(seed, num_shards, num_workers)
    return [f"seed {seed}: {line}" for line in failures(run_simulation(cluster, shards))]


def test_no_innocent_is_blamed_and_a_run_that_can_finish_does() -> None:
    started = time.monotonic()
    for seed in range(300):
        assert wrong_in(seed) == []
        if seed >= LEAST_SEEDS and time.monotonic() - started > SECONDS:
            break


@pytest.mark.slow
def test_a_seed_gives_the_same_run_in_every_process() -> None:
    script = (
        "from tests.support.fleet_simulation import *\n"
        "cluster, shards = world(8, 100, 20)\n"
        "run_simulation(cluster, shards)\n"
        "print(cluster.now, sorted(cluster.submits.items()))"
    )
    told = {
        subprocess.run(
            [sys.executable, "-c", script],
            env=os.environ | {"PYTHONHASHSEED": str(number)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for number in range(3)
    }
    assert len(told) == 1


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_the_same_on_two_hundred_workers(seed: int) -> None:
    assert wrong_in(seed, 10_000, 200) == []


def test_an_outage_that_lasts_ends_the_run_and_blames_no_shard() -> None:
    cluster, shards = world_of([Node("n0", "A", 1.0)], Trouble(outages=[(500.0, 1e6)]), 60)
    result = run_simulation(cluster, shards)
    assert isinstance(result.error, StorageError)
    assert "`--outage-minutes`" in str(result.error)
    assert result.summary.failed == []
    assert cluster.now < 500 + 4000


def test_a_cluster_of_broken_nodes_ends_the_run_and_blames_no_shard() -> None:
    nodes = [Node(f"n{number}", "A", 1.0, is_broken=True) for number in range(3)]
    cluster, shards = world_of(nodes, Trouble(), 60)
    result = run_simulation(cluster, shards)
    assert isinstance(result.error, WorkerError)
    assert result.summary.failed == []


def test_kills_at_random_do_not_set_the_only_node_aside() -> None:
    for seed in range(20):
        cluster, shards = world_of([Node("n0", "A", 1.0)], Trouble(killed_share=0.6), 40, seed)
        result = run_simulation(cluster, shards)
        assert result.error is None, f"seed {seed}"


def test_a_run_that_is_resumed_waits_for_its_platform() -> None:
    cluster, shards = world_of([Node(f"n{number}", "B", 1.0) for number in range(3)], Trouble(), 20)
    cluster.add_node(Node("late", "A", 1.0), 7200.0)
    result = run_simulation(cluster, shards)
    assert result.error is None
    assert result.summary.done == 20
    assert cluster.now > 7200


def test_a_draining_node_gets_no_more_shards() -> None:
    leaving = Node("n1", "A", 1.0, notice_at=1000.0, ends_at=3000.0)
    cluster, shards = world_of([Node("n0", "A", 1.0), leaving], Trouble(), 60)
    result = run_simulation(cluster, shards)
    assert result.summary.done == 60
    late = [at for at, node in cluster.begun if node == "n1" and at > 1000 + 10 + 600]
    assert late == []
    assert result.driver.verdicts == []


def test_a_driver_that_was_stalled_hands_out_nothing_once_another_took_over() -> None:
    for seed in range(20):
        rival = Rival(seed)
        rival.run()
        assert isinstance(rival.first_error, LeaseError), f"seed {seed}"
        assert rival.submits_after_loss == 0, f"seed {seed}"
        assert rival.committed == {shard.path for shard in rival.shards}, f"seed {seed}"
