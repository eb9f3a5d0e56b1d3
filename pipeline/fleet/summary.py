"""The summary of a run: what its shards became, and what its workers told at last.

`run.py` feeds it. The command prints it at the end, and the last event of a run records it. Sums
over workers are those of the last `RunProgress` (`live_progress.py`), which is shown meanwhile.
"""

import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pipeline.fleet.live_progress import RunProgress
from pipeline.output.manifest import FinishedShard
from pipeline.plural import plural
from pipeline.storage.location import redact
from pipeline.worker.progress import ClipCounts
from pipeline.worker.stage_times import StageTime
from pipeline.worker.writer import ShardOutcome

# Before its end `--max-reject-rate` stops no run with fewer clips: their rate may be chance.
_MIN_CLIPS_FOR_RATE = 200


@dataclass(slots=True)
class RunSummary:
    """Sums over the outcomes of shards.

    `judged_before`, `rejects_before` and `filtered_before` count the shards that earlier commands
    did; `where` is the run's filter, `told` what the workers told at last.
    """

    shards_total: int
    shards_skipped: int
    bytes_total: int
    where: str | None = None
    done: int = 0
    counts: ClipCounts = field(default_factory=ClipCounts)
    ended_early: int = 0
    other_type: int = 0
    failed: list[tuple[str, str]] = field(default_factory=list)
    damaged: list[tuple[str, int]] = field(default_factory=list)
    judged_before: int = 0
    rejects_before: int = 0
    filtered_before: int = 0
    told: RunProgress | None = None
    started: float = field(default_factory=time.perf_counter)

    def take(self, outcome: ShardOutcome) -> None:
        """Add one outcome."""
        manifest = outcome.manifest
        if manifest is None:
            reason = outcome.fault.message if outcome.fault else "no reason given"
            self.failed.append((redact(outcome.shard.url), reason))
            return
        self.done += 1
        self.counts = self.counts.plus(ClipCounts.of_manifest(manifest))
        self.ended_early += manifest.ended_early
        self.other_type += manifest.other_type
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
    def codes(self) -> int:
        """Clips that became codes."""
        return self.counts.codes

    @property
    def rejects(self) -> Counter[str]:
        """Clips that did not, by reason."""
        return Counter(self.counts.rejects)

    @property
    def wall_seconds(self) -> float:
        """Seconds since the work began."""
        return time.perf_counter() - self.started

    @property
    def real_time_factor(self) -> float:
        """Seconds of speech encoded per second of wall time."""
        return self.counts.source_seconds / max(self.wall_seconds, 1e-9)

    def reject_rate(self, *, is_over: bool) -> float:
        """The share of rejects among unfiltered clips; 0 before 200 clips of a run that goes on."""
        judged = self.counts.clips - self.counts.filtered + self.judged_before
        rejects = self.rejects.total() + self.rejects_before
        return rejects / judged if judged >= (1 if is_over else _MIN_CLIPS_FOR_RATE) else 0.0

    def why_no_codes(self) -> str | None:
        """What became of the clips, where none of the output became codes; else None."""
        if self.codes or self.judged_before > self.rejects_before:
            return None
        rejects = self.rejects.total() + self.rejects_before
        filtered = self.counts.filtered + self.filtered_before
        if not rejects and not filtered:
            return "there are none"
        by_filter = f" by `--where '{self.where}'`" if filtered and self.where else ""
        return f"{rejects} were rejects and {filtered} filtered{by_filter}"

    @property
    def stages(self) -> tuple[StageTime, ...]:
        """Busy seconds of each stage, over all workers."""
        return self.told.stages if self.told else ()

    def slowest_stage(self) -> str | None:
        """The stage whose threads were busiest, each on average."""
        return max(self.stages, key=lambda s: s.seconds_per_thread).name if self.stages else None

    def to_dict(self) -> Mapping[str, Any]:
        """The summary as JSON values, for `--json` and for the event log."""
        told = self.told
        return {
            "shards": self.shards_total,
            "skipped": self.shards_skipped,
            "done": self.done,
            "failed": [{"shard": s, "error": e} for s, e in self.failed],
            "damaged": [{"shard": s, "holes": n} for s, n in self.damaged],
            "clips": self.counts.clips,
            "codes": self.codes,
            "filtered": self.counts.filtered,
            "rejects": dict(sorted(self.rejects.items())),
            "ended_early": self.ended_early,
            "other_type": self.other_type,
            "hours": round(self.counts.source_seconds / 3600, 6),
            "wall_seconds": round(self.wall_seconds, 3),
            "real_time_factor": round(self.real_time_factor, 2),
            "idle_share": told.idle_share if told else None,
            "times_out_of_memory": told.times_out_of_memory if told else 0,
            "reruns_in_exact": told.reruns_in_exact if told else 0,
            "slowest_stage": self.slowest_stage(),
            "stages": [
                {"name": s.name, "threads": s.threads, "busy_seconds": round(s.busy_seconds, 3)}
                for s in self.stages
            ],
        }

    def lines(self) -> list[str]:
        """The summary as lines of text."""
        if self.shards_skipped == self.shards_total:
            before = plural(self.shards_total, "shard was", "shards were")
            damaged = f"{len(self.damaged)} damaged"
            return [f"shards    nothing is left: {before} done before, {damaged}"]
        lines = [
            f"shards    {self.done} done, {self.shards_skipped} done before, "
            f"{len(self.failed)} failed, {len(self.damaged)} damaged"
        ]
        if self.done:
            lines += self._work_lines()
        return lines

    def _work_lines(self) -> list[str]:
        reasons = ", ".join(f"{n} {reason}" for reason, n in self.rejects.most_common())
        table = ", ".join(f"{s.name} {s.busy_seconds:.1f} s / {s.threads}" for s in self.stages)
        lines = [
            f"clips     {self.codes:,} codes, {plural(self.rejects.total(), 'reject')}, "
            f"{self.counts.filtered:,} filtered" + (f" ({reasons})" if reasons else ""),
            f"speech    {self.counts.source_seconds / 3600:.3f} h in {self.wall_seconds:.1f} s, "
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
        if self.told and self.told.times_out_of_memory:
            lines.append(
                f"memory    GPU memory ran out ({self.told.times_out_of_memory} x): fewer packs "
                "were kept in flight; codes are the same"
            )
        if self.told and self.told.reruns_in_exact:
            lines.append(
                f"precision values were too large for half precision ({self.told.reruns_in_exact} "
                "x): those windows of clips have the codes of `exact`"
            )
        return lines
