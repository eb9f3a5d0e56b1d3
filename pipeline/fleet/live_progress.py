"""How far a run is, from what its workers tell and from the shards that ended.

Pure logic: `driver.py` feeds it and yields what it reads. The bar, the events, the metrics and the
webhook show the same `RunProgress`, and the last one is in the run's summary.

What is done is what finished shards hold and what is settled of the shards in hand. A shard that
loses its worker is begun again: its clips no longer count, but the sums that are shown stand still
until the work is done again, they do not go back. Speeds and busy seconds count all work, also what
was lost, because they tell how fast the workers are.
"""

import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from pipeline.corpus.shard import Shard
from pipeline.fleet.pool import WorkerStart
from pipeline.worker.progress import ClipCounts, ShardProgress, WorkerProgress
from pipeline.worker.stage_times import StageTime
from pipeline.worker.writer import ShardOutcome

# With more workers it is read less often, because each look is at all of them.
_WORKERS_PER_SECOND = 100
# Speeds are those of the last minute; for the time that is left, of the last five.
_NOW_SECONDS = 60.0
_LEFT_SECONDS = 300.0
# A run that stands still for this long has no speed and no end that could be told.
STILL_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class WorkerLine:
    """One busy worker: the shard it is in, clips of it, its speed, and its latest step."""

    worker: str
    node: str
    shard: str
    clips: int
    real_time_factor: float
    last_stage: str
    idle_seconds: float


@dataclass(frozen=True, slots=True)
class RunProgress:
    """A run at one moment.

    Attributes:
        seconds: since the work began.
        counts: clips and hours of finished shards and of those in hand; never goes back.
        work_done: bytes of the shards that are done, or shards where no listing knows sizes.
        work_total: what `work_done` will be at the end.
        bytes_read: by all workers, also of shards that were lost.
        real_time_factor: seconds of speech encoded a second, in the last minute.
        mean_real_time_factor: the same since the work began, without work that was lost.
        eta_seconds: how long the rest will take; None while no worker works or gets on.
        idle_share: the share of time in which codecs waited, of workers that had shards.
        steps: a count that grows with all work.
        stages: busy seconds of each stage, over all workers.
        times_out_of_memory: how often GPU memory was too small for one more pack in flight.
        reruns_in_exact: how many windows of clips half precision could not hold.
        outage_seconds: how long storage has not answered; 0 when it does.
        still_seconds: how long no worker has read a byte, made a step or ended a shard.
        workers: workers that are ready.
        nodes_aside: nodes that get no more shards.
        lines: the busy workers.
    """

    seconds: float
    counts: ClipCounts
    work_done: int
    work_total: int
    is_sized: bool
    bytes_read: int
    real_time_factor: float
    mean_real_time_factor: float
    eta_seconds: float | None
    idle_share: float | None
    steps: int
    stages: tuple[StageTime, ...]
    times_out_of_memory: int
    reruns_in_exact: int
    outage_seconds: float
    still_seconds: float
    shards_done: int
    shards_failed: int
    shards_left: int
    shards_in_hand: int
    workers: int
    nodes_aside: int
    lines: tuple[WorkerLine, ...] = ()

    @property
    def busy_seconds(self) -> Mapping[str, float]:
        """Busy seconds by the name of the stage."""
        return {stage.name: stage.busy_seconds for stage in self.stages}


class _Speed:
    """How fast a sum grows, over a time window; a second sum beside it tells over what else."""

    def __init__(self, window_seconds: float) -> None:
        self._window = window_seconds
        self._samples: deque[tuple[float, float, float]] = deque()

    def add(self, now: float, value: float, other: float = 0.0) -> None:
        self._samples.append((now, value, other))
        while len(self._samples) > 2 and now - self._samples[1][0] >= self._window:
            self._samples.popleft()

    def rate(self) -> float:
        """The sum by time."""
        return self._growth(0)

    def rate_by_other(self) -> float:
        """The sum by the other sum."""
        return self._growth(2)

    def _growth(self, by: int) -> float:
        if len(self._samples) < 2:
            return 0.0
        first, last = self._samples[0], self._samples[-1]
        span = last[by] - first[by]
        return (last[1] - first[1]) / span if span > 0 else 0.0


@dataclass(slots=True)
class _Worker:
    last: WorkerProgress
    speed: _Speed
    noted: float


@dataclass(slots=True)
class _Sums:
    """Sums over the lives of workers."""

    source_seconds: float = 0.0
    bytes_read: int = 0
    steps: int = 0
    times_out_of_memory: int = 0
    reruns_in_exact: int = 0
    stages: dict[str, StageTime] = field(default_factory=dict)

    def add(self, told: WorkerProgress) -> None:
        self.source_seconds += told.counts.source_seconds
        self.bytes_read += told.bytes_read
        self.steps += told.steps
        self.times_out_of_memory += told.times_out_of_memory
        self.reruns_in_exact += told.reruns_in_exact
        for stage in told.stages:
            before = self.stages.get(stage.name)
            self.stages[stage.name] = before.plus(stage) if before else stage


class LiveProgress:
    """Adds up what workers tell; a `RunProgress` is read from it about every second."""

    def __init__(
        self,
        shards: Sequence[Shard],
        clock: Callable[[], float] = time.monotonic,
        pause_seconds: float = 1.0,
    ) -> None:
        self._clock = clock
        self._pause = pause_seconds
        self._began = self._read_at = clock()
        self._sized = any(shard.size_bytes > 0 for shard in shards)
        self._total = sum(map(self._work_of, shards))
        self._num_shards = len(shards)
        self._workers: dict[str, _Worker] = {}
        self._gone = _Sums()
        self._finished, self._finished_work = ClipCounts(), 0
        self._num_done = self._num_failed = 0
        self._shown, self._shown_work = ClipCounts(), 0
        self._worker_seconds = 0.0
        self._seen_work, self._moved_at = (0, 0, 0), self._began
        self._now, self._left = _Speed(_NOW_SECONDS), _Speed(_LEFT_SECONDS)
        self._now.add(self._began, 0.0)
        self._left.add(self._began, 0.0)

    @property
    def is_due(self) -> bool:
        """Whether it is time to read it again."""
        pause = max(self._pause, len(self._workers) / _WORKERS_PER_SECOND)
        return self._clock() - self._read_at >= pause

    def note(self, worker: str, told: WorkerProgress) -> None:
        """Take what a worker told."""
        known = self._known(worker)
        known.last = told
        known.speed.add(known.noted, told.counts.source_seconds)

    def note_return(self, worker: str, outcome: ShardOutcome) -> None:
        """Take the busy seconds that a worker tells with every shard."""
        known = self._known(worker)
        if outcome.stages:
            known.last = replace(
                known.last,
                stages=outcome.stages,
                times_out_of_memory=outcome.times_out_of_memory,
                reruns_in_exact=outcome.reruns_in_exact,
            )

    def _known(self, worker: str) -> _Worker:
        """The worker; its time counts up to now, because what it tells does."""
        now = self._clock()
        known = self._workers.get(worker)
        if known is None:
            known = self._workers[worker] = _Worker(WorkerProgress(), _Speed(_NOW_SECONDS), now)
        self._worker_seconds += now - known.noted
        known.noted = now
        return known

    def take(self, outcome: ShardOutcome) -> None:
        """Count a shard that ended."""
        self._finished_work += self._work_of(outcome.shard)
        if outcome.manifest is None:
            self._num_failed += 1
            return
        self._num_done += 1
        self._finished = self._finished.plus(ClipCounts.of_manifest(outcome.manifest))

    def read(
        self,
        starts: Mapping[str, WorkerStart],
        hands: Mapping[str, Sequence[Shard]],
        *,
        nodes_aside: int,
        outage_seconds: float,
    ) -> RunProgress:
        """The progress now; `hands` are the busy workers with their shards."""
        now = self._clock()
        self._read_at = now
        for worker in [name for name in self._workers if name not in starts]:
            self._gone.add(self._workers.pop(worker).last)
        for worker, known in self._workers.items():
            if worker not in hands:
                known.noted = now
        sums = self._add_up()
        in_hand = {worker: self._told_of(worker, shards) for worker, shards in hands.items()}
        counts, work = self._finished, self._finished_work
        for each in (shard for told in in_hand.values() for shard in told.values()):
            counts = counts.plus(each.counts)
            work += each.bytes_done if self._sized else 0
        self._shown = _most(self._shown, counts)
        self._shown_work = max(self._shown_work, min(work, self._total))
        # Shards may end before their worker is asked again.
        self._now.add(now, max(sums.source_seconds, self._shown.source_seconds))
        self._left.add(now, self._shown_work, self._worker_seconds)
        seen = (sums.steps, sums.bytes_read, self._num_done + self._num_failed)
        if seen != self._seen_work:
            self._seen_work, self._moved_at = seen, now
        still = now - self._moved_at
        seconds = now - self._began
        encode, idle = sums.stages.get("encode"), None
        if encode and encode.busy_seconds and self._worker_seconds:
            idle = max(0.0, 1 - encode.busy_seconds / self._worker_seconds)
        return RunProgress(
            seconds=seconds,
            counts=self._shown,
            work_done=self._shown_work,
            work_total=self._total,
            is_sized=self._sized,
            bytes_read=sums.bytes_read,
            real_time_factor=self._now.rate() if still < STILL_SECONDS else 0.0,
            mean_real_time_factor=self._shown.source_seconds / max(seconds, 1e-9),
            eta_seconds=self._eta(hands, in_hand) if still < STILL_SECONDS else None,
            idle_share=idle,
            steps=sums.steps,
            stages=tuple(sums.stages.values()),
            times_out_of_memory=sums.times_out_of_memory,
            reruns_in_exact=sums.reruns_in_exact,
            outage_seconds=outage_seconds,
            still_seconds=still,
            shards_done=self._num_done,
            shards_failed=self._num_failed,
            shards_left=self._num_shards - self._num_done - self._num_failed,
            shards_in_hand=sum(map(len, hands.values())),
            workers=len(starts),
            nodes_aside=nodes_aside,
            lines=tuple(self._lines(starts, hands, in_hand)),
        )

    def _work_of(self, shard: Shard) -> int:
        return max(0, shard.size_bytes) if self._sized else 1

    def _add_up(self) -> _Sums:
        sums = replace(self._gone, stages=dict(self._gone.stages))
        for worker in self._workers.values():
            sums.add(worker.last)
        return sums

    def _told_of(self, worker: str, shards: Iterable[Shard]) -> dict[str, ShardProgress]:
        """What a worker told of the shards it has now; an answer may come after a shard's end."""
        known = self._workers.get(worker)
        if known is None or not known.last.shards:
            return {}
        paths = {shard.path for shard in shards}
        return {each.path: each for each in known.last.shards if each.path in paths}

    def _eta(
        self,
        hands: Mapping[str, Sequence[Shard]],
        in_hand: Mapping[str, Mapping[str, ShardProgress]],
    ) -> float | None:
        """The rest by the speed of all busy workers, or the longest hand by that of one."""
        speed = self._left.rate_by_other()
        if not hands or speed <= 0:
            return None if self._shown_work < self._total else 0.0
        longest = 0
        for worker, shards in hands.items():
            told = in_hand[worker].values()
            work = sum(map(self._work_of, shards))
            longest = max(longest, work - sum(each.bytes_done for each in told if self._sized))
        return max((self._total - self._shown_work) / len(hands), longest) / speed

    def _lines(
        self,
        starts: Mapping[str, WorkerStart],
        hands: Mapping[str, Sequence[Shard]],
        in_hand: Mapping[str, Mapping[str, ShardProgress]],
    ) -> Iterable[WorkerLine]:
        for worker, shards in hands.items():
            known = self._workers.get(worker)
            current = next(iter(in_hand[worker].values()), None)
            yield WorkerLine(
                worker=worker,
                node=starts[worker].node_id,
                shard=current.path if current else shards[0].path,
                clips=current.counts.clips if current else 0,
                real_time_factor=known.speed.rate() if known else 0.0,
                last_stage=known.last.last_stage if known else "",
                idle_seconds=known.last.idle_seconds if known else 0.0,
            )


def _most(before: ClipCounts, now: ClipCounts) -> ClipCounts:
    return ClipCounts(
        max(before.codes, now.codes),
        max(before.filtered, now.filtered),
        max(before.source_seconds, now.source_seconds),
        # A plain one: `asdict` of Python 3.11 does not copy a `Counter` right.
        dict(Counter(before.rejects) | Counter(now.rejects)),
    )
