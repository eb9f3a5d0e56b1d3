"""What a run says of itself at its end: what its shards became, and sums over its workers."""

from dataclasses import replace

from pipeline.corpus.shard import Shard
from pipeline.fleet.live_progress import LiveProgress, RunProgress
from pipeline.fleet.pool import WorkerStart
from pipeline.fleet.summary import RunSummary
from pipeline.worker.fault import Fault, Owner
from pipeline.worker.stage_times import StageTime
from pipeline.worker.writer import ShardOutcome
from xy_codec.fake import FakeCodec

SHARD = Shard("s.tar", "s.tar", 1, "")
START = WorkerStart(FakeCodec().identity, "node", "place", 1, 0, 0)


def outcome(worker: str, busy: float) -> ShardOutcome:
    stages = (StageTime("encode", 2, busy, busy), StageTime("read", 1, busy / 4, 0))
    return ShardOutcome(SHARD, None, 10.0, Fault(Owner.SHARD, "gone"), worker, stages)


class Run:
    """A run whose two workers bring shards, at times that a test sets."""

    def __init__(self) -> None:
        self.now = 0.0
        self.starts = {"lost": START, "late": START}
        self.live = LiveProgress([SHARD], lambda: self.now)

    def read(self, *busy: str) -> RunProgress:
        hands = {worker: [SHARD] for worker in busy}
        return self.live.read(self.starts, hands, nodes_aside=0, outage_seconds=0.0)

    def bring(self, worker: str, busy: float, reruns: int = 0) -> None:
        self.live.note_return(worker, replace(outcome(worker, busy), reruns_in_exact=reruns))


def summary_of(told: RunProgress) -> RunSummary:
    summary = RunSummary(9, 0, 9)
    summary.told = told
    return summary


def test_workers_that_were_lost_or_came_late_do_not_count_as_idle() -> None:
    run = Run()
    run.bring("lost", 0)
    run.now = 10.0
    run.bring("lost", 9)
    del run.starts["lost"]
    run.read()
    run.now = 90.0
    run.bring("late", 0)
    run.now = 100.0
    run.bring("late", 9)
    assert summary_of(run.read("late")).to_dict()["idle_share"] == 1 - 18 / 20


def test_sums_of_workers_are_those_that_each_told_last_also_of_lost_ones() -> None:
    assert not any("half precision" in line for line in RunSummary(9, 0, 9)._work_lines())
    run = Run()
    # Each outcome has its worker's sum so far.
    for worker, busy, reruns in (("lost", 1.0, 1), ("late", 2.0, 2), ("lost", 5.0, 4)):
        run.bring(worker, busy, reruns)
    del run.starts["lost"]
    summary = summary_of(run.read("late"))
    told = summary.to_dict()
    assert told["reruns_in_exact"] == 6
    assert told["stages"][0] == {"name": "encode", "threads": 4, "busy_seconds": 7.0}
    assert told["slowest_stage"] == "encode"
    assert "too large for half precision (6 x)" in summary._work_lines()[-1]
