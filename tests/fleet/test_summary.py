"""What a run says of itself while it goes on."""

import time
from dataclasses import replace

import pytest

from pipeline.corpus.shard import Shard
from pipeline.fleet.summary import RunSummary
from pipeline.worker.fault import Fault, Owner
from pipeline.worker.stage_times import StageTime
from pipeline.worker.writer import ShardOutcome

GONE = Fault(Owner.SHARD, "gone")


def outcome(worker: str, seconds: float, busy: float) -> ShardOutcome:
    stages = (StageTime("encode", 1, busy, busy),)
    return ShardOutcome(Shard("s.tar", "s.tar", 1, ""), None, seconds, GONE, worker, stages)


def test_workers_that_were_lost_or_came_late_do_not_count_as_idle() -> None:
    summary = RunSummary(9, 0, 9, started=time.perf_counter() - 100)
    for worker in ("lost", "late"):
        summary.take(outcome(worker, 10, 9))
    assert summary.idle_share() == pytest.approx(0.1, abs=0.01)


def test_what_ran_again_in_exact_is_summed_over_workers_and_told() -> None:
    summary = RunSummary(9, 0, 9)
    assert not any("half precision" in line for line in summary._work_lines())
    # Each outcome has its worker's sum so far.
    for worker, reruns in (("a", 1), ("b", 2), ("a", 4)):
        summary.take(replace(outcome(worker, 10, 9), reruns_in_exact=reruns))
    assert summary.to_dict()["reruns_in_exact"] == 6
    assert "too large for half precision (6 x)" in summary._work_lines()[-1]
