"""The summary of a run: clips, rejects, hours, speed and stage times, added up shard by shard.

`run.py` feeds it. The command prints it at the end, and the last event of a run records it; what is
shown meanwhile is a `RunProgress` (`live_progress.py`).
"""

import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipeline.output.manifest import FinishedShard
from pipeline.plural import plural
from pipeline.storage.location import redact
from pipeline.worker.stage_times import StageTime
from pipeline.worker.writer import ShardOutcome

# Before its end `--max-reject-rate` stops no run with fewer clips: their rate may be chance.
_MIN_CLIPS_FOR_RATE = 200


@dataclass(slots=True)
class RunSummary:
    """Sums over the outcomes of shards.

    `judged_before`, `rejects_before` and `filtered_before` count the shards that earlier commands
    did; `where` is the run's filter.
    """

    shards_total: int
    shards_skipped: int
    bytes_total: int
    where: str | None = None
    done: int = 0
    clips: int = 0
    codes: int = 0
    filtered: int = 0
    ended_early: int = 0
    other_type: int = 0
    rejects: Counter[str] = field(default_factory=Counter)
    source_seconds: float = 0.0
    failed: list[tuple[str, str]] = field(default_factory=list)
    damaged: list[tuple[str, int]] = field(default_factory=list)
    judged_before: int = 0
    rejects_before: int = 0
    filtered_before: int = 0
    stages_by_worker: dict[str, Sequence[StageTime]] = field(default_factory=dict)
    out_of_memory_by_worker: dict[str, int] = field(default_factory=dict)
    reruns_by_worker: dict[str, int] = field(default_factory=dict)
    spans_by_worker: dict[str, tuple[float, float]] = field(default_factory=dict)
    started: float = field(default_factory=time.perf_counter)

    def take(self, outcome: ShardOutcome) -> None:
        """Add one outcome."""
        if outcome.stages:
            self.stages_by_worker[outcome.worker] = outcome.stages
            self.out_of_memory_by_worker[outcome.worker] = outcome.times_out_of_memory
            self.reruns_by_worker[outcome.worker] = outcome.reruns_in_exact
            now = time.perf_counter()
            began, _ = self.spans_by_worker.get(outcome.worker, (now - outcome.seconds, now))
            self.spans_by_worker[outcome.worker] = (began, now)
        manifest = outcome.manifest
        if manifest is None:
            reason = outcome.fault.message if outcome.fault else "no reason given"
            self.failed.append((redact(outcome.shard.url), reason))
            return
        self.done += 1
        self.clips += manifest.clips_seen
        self.codes += manifest.codes
        self.filtered += manifest.filtered
        self.rejects.update(manifest.rejects_by_reason)
        self.ended_early += manifest.ended_early
        self.other_type += manifest.other_type
        self.source_seconds += manifest.source_seconds
        self._note_damage(FinishedShard.of_manifest(manifest))

    def recall(self, shards: Iterable[FinishedShard]) -> None:
        """Add counts of shards that earlier commands did: the exit code depends on all shards."""
        for shard in shards:
            self.judged_before += shard.codes + shard.rejects
            self.rejects_before += shard.rejects
            self.filtered_before += shard.filtered
            self._note_damage(shard)

    def _note_damage(self, shard: FinishedShard) -> None:
        if shard.holes:
            self.damaged.append((shard.url, shard.holes))

    @property
    def wall_seconds(self) -> float:
        """Seconds since the work began."""
        return time.perf_counter() - self.started

    @property
    def real_time_factor(self) -> float:
        """Seconds of speech encoded per second of wall time."""
        return self.source_seconds / max(self.wall_seconds, 1e-9)

    def reject_rate(self, *, is_over: bool) -> float:
        """The share of rejects among unfiltered clips; 0 before 200 clips of a run that goes on."""
        judged = self.clips - self.filtered + self.judged_before
        rejects = self.rejects.total() + self.rejects_before
        return rejects / judged if judged >= (1 if is_over else _MIN_CLIPS_FOR_RATE) else 0.0

    def why_no_codes(self) -> str | None:
        """What became of the clips, where none of the output became codes; else None."""
        if self.codes or self.judged_before > self.rejects_before:
            return None
        rejects = self.rejects.total() + self.rejects_before
        filtered = self.filtered + self.filtered_before
        by_filter = f" by `--where '{self.where}'`" if filtered and self.where else ""
        return f"{rejects} were rejects and {filtered} filtered{by_filter}"

    def stages(self) -> list[StageTime]:
        """Busy seconds of each stage, added up over all workers."""
        sums: dict[str, StageTime] = {}
        for times in self.stages_by_worker.values():
            for one in times:
                before = sums.get(one.name)
                sums[one.name] = one if before is None else before.plus(one)
        return list(sums.values())

    def idle_share(self) -> float | None:
        """The share of time in which codecs waited; None before the first shard ended.

        The time of a worker begins with its first shard and ends with its last one, so that those
        that came late or were lost do not count as idle.
        """
        encode = next((stage for stage in self.stages() if stage.name == "encode"), None)
        if encode is None:
            return None
        seconds = sum(ended - began for began, ended in self.spans_by_worker.values())
        return max(0.0, 1.0 - encode.busy_seconds / max(seconds, 1e-9))

    @property
    def times_out_of_memory(self) -> int:
        """How often GPU memory was too small for one more pack in flight, over all workers."""
        return sum(self.out_of_memory_by_worker.values())

    @property
    def reruns_in_exact(self) -> int:
        """How many windows of clips half precision could not hold, over all workers."""
        return sum(self.reruns_by_worker.values())

    def slowest_stage(self) -> str | None:
        """The stage whose threads were busiest, each on average."""
        stages = self.stages()
        return max(stages, key=lambda s: s.seconds_per_thread).name if stages else None

    def to_dict(self) -> Mapping[str, Any]:
        """The summary as JSON values, for `--json` and for the event log."""
        return {
            "shards": self.shards_total,
            "skipped": self.shards_skipped,
            "done": self.done,
            "failed": [{"shard": s, "error": e} for s, e in self.failed],
            "damaged": [{"shard": s, "holes": n} for s, n in self.damaged],
            "clips": self.clips,
            "codes": self.codes,
            "filtered": self.filtered,
            "rejects": dict(sorted(self.rejects.items())),
            "ended_early": self.ended_early,
            "other_type": self.other_type,
            "hours": round(self.source_seconds / 3600, 6),
            "wall_seconds": round(self.wall_seconds, 3),
            "real_time_factor": round(self.real_time_factor, 2),
            "idle_share": self.idle_share(),
            "times_out_of_memory": self.times_out_of_memory,
            "reruns_in_exact": self.reruns_in_exact,
            "slowest_stage": self.slowest_stage(),
            "stages": [
                {"name": s.name, "threads": s.threads, "busy_seconds": round(s.busy_seconds, 3)}
                for s in self.stages()
            ],
        }

    def lines(self) -> list[str]:
        """The summary as lines of text."""
        if self.shards_skipped == self.shards_total:
            return [
                f"shards    nothing is left: all {self.shards_total} were done before, "
                f"{len(self.damaged)} damaged"
            ]
        lines = [
            f"shards    {self.done} done, {self.shards_skipped} were done before, "
            f"{len(self.failed)} failed, {len(self.damaged)} damaged"
        ]
        if self.done:
            lines += self._work_lines()
        return lines

    def _work_lines(self) -> list[str]:
        reasons = ", ".join(f"{n} {reason}" for reason, n in self.rejects.most_common())
        stages = self.stages()
        table = ", ".join(f"{s.name} {s.busy_seconds:.1f} s / {s.threads}" for s in stages)
        lines = [
            f"clips     {self.codes:,} codes, {plural(self.rejects.total(), 'reject')}, "
            f"{self.filtered} filtered" + (f" ({reasons})" if reasons else ""),
            f"speech    {self.source_seconds / 3600:.3f} h in {self.wall_seconds:.1f} s, "
            f"{self.real_time_factor:,.0f} x real time",
            f"stages    {table} (busy seconds / threads); slowest: {self.slowest_stage()}",
        ]
        if self.ended_early:
            lines.append(
                f"short     {plural(self.ended_early, 'clip is', 'clips are')} shorter than "
                "their header or JSON says: "
                "filter them by `duration` and `json_duration`, or pass `--reject-short`"
            )
        if self.other_type:
            lines.append(
                f"filter    {plural(self.other_type, 'filtered clip')} had a value of another "
                "type than `--where` compares it with, such as text in place of a number"
            )
        if self.times_out_of_memory:
            lines.append(
                f"memory    GPU memory ran out ({self.times_out_of_memory} x): fewer packs were "
                "kept in flight; codes are the same"
            )
        if self.reruns_in_exact:
            lines.append(
                f"precision values were too large for half precision ({self.reruns_in_exact} x): "
                "those windows of clips have the codes of `exact`"
            )
        return lines
