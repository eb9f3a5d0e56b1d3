"""The words of a verdict: what judging hands to the summary, the report and the exit code."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from pipeline.audit.judge.intervals import Interval
from pipeline.audit.judge.thresholds import Thresholds

Verdict = Literal["ok", "unusual content", "too few clips", "drift", "broken"]
Level = Literal["run", "corpus", "language", "DNSMOS"]
# From harmless to worst; a run is as bad as its worst shard.
VERDICTS: tuple[Verdict, ...] = ("ok", "too few clips", "unusual content", "drift", "broken")


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong with a shard, by name, with its evidence."""

    name: str
    verdict: Verdict
    evidence: str
    num_clips: int = 0


@dataclass(frozen=True, slots=True)
class Change:
    """One metric of a shard or group: its mean, and how it stands against the reference.

    `shift` is Cliff's delta against the reference, -1 (all below) to 1 (all above), and `worse_by`
    the difference in the direction that is worse; of a metric that is best at zero, both of its
    size. `adjusted_p` is corrected for all metrics and all shards (or groups) judged together.
    """

    metric: str
    mean: Interval
    reference_mean: float | None = None
    difference: Interval | None = None
    shift: float | None = None
    worse_by: float | None = None
    p_value: float | None = None
    adjusted_p: float | None = None
    unusual: bool = False


@dataclass(frozen=True, slots=True)
class PairedChange:
    """One metric of stored codes minus fresh codes (or of A minus B) on the same clips."""

    metric: str
    difference: Interval
    p_value: float


@dataclass(frozen=True, slots=True)
class ShardVerdict:
    """What the audit says about one shard."""

    shard: str
    verdict: Verdict
    faults: tuple[Fault, ...]
    num_clips: int
    num_compared: int
    num_differing: int
    flip_rates: tuple[float, ...]
    changes: Mapping[str, Change]
    paired: Mapping[str, PairedChange] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class GroupVerdict:
    """What the audit says about the whole run, a corpus or a language: content only."""

    level: Level
    name: str
    num_clips: int
    num_shards: int
    changes: Mapping[str, Change]

    @property
    def unusual(self) -> tuple[str, ...]:
        """Metrics that stand apart from the baseline."""
        return tuple(name for name, change in self.changes.items() if change.unusual)


@dataclass(frozen=True, slots=True)
class Judgement:
    """The whole verdict of one audit; `unread` are the shards whose tar could not be looked at."""

    verdict: Verdict
    shards: tuple[ShardVerdict, ...]
    groups: tuple[GroupVerdict, ...]
    thresholds: Thresholds
    reference: str
    missing: Mapping[str, Mapping[str, int]]
    notes: tuple[str, ...] = ()
    unread: tuple[str, ...] = ()

    @property
    def exit_code(self) -> int:
        """0 when nothing was found, 1 with findings; a small sample alone is no finding.

        Originals that cannot be read are one: what was asked for was not measured.
        """
        return 0 if self.verdict in ("ok", "too few clips") and not self.unread else 1

    @property
    def sounds_poor(self) -> bool:
        """Whether speech is hardly intelligible after the codec, whatever it is compared with."""
        stoi = self.run_changes.get("stoi")
        return stoi is not None and stoi.mean.high < self.thresholds.poor_stoi

    @property
    def has_baseline(self) -> bool:
        """Whether content was compared with a baseline, not only shard with shard."""
        return any(change.difference is not None for change in self.run_changes.values())

    @property
    def run_changes(self) -> Mapping[str, Change]:
        """The metrics of the whole run."""
        return next((group.changes for group in self.groups if group.level == "run"), {})

    def count(self, verdict: Verdict) -> int:
        """Shards with that verdict."""
        return sum(shard.verdict == verdict for shard in self.shards)
