"""The words of a verdict: what judging hands to the summary, the report and the exit code."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from pipeline.audit.judge.inference import Interval, Prediction
from pipeline.audit.judge.thresholds import Thresholds

Verdict = Literal["ok", "cannot judge", "unusual content", "drift", "broken"]
CodesState = Literal["equal", "equivalent", "drifted", "cannot judge"]
Level = Literal["run", "corpus", "language", "DNSMOS"]
# From harmless to worst; a run is as bad as its worst shard.
VERDICTS: tuple[Verdict, ...] = ("ok", "cannot judge", "unusual content", "drift", "broken")


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

    `worse_by` is the difference in the direction that is worse, of the sizes where zero is best;
    `smallest_found` is how large it had to be. `adjusted_p` is corrected for all metrics of all
    shards and groups judged together. `unjudged` says why a metric that judges was not tested, or
    not on many of its values.
    """

    metric: str
    mean: Interval
    reference_mean: float | None = None
    num_reference_shards: int = 0
    difference: Interval | None = None
    worse_by: float | None = None
    smallest_found: float | None = None
    p_value: float | None = None
    adjusted_p: float | None = None
    unusual: bool = False
    unjudged: str | None = None
    tested: Prediction | None = None


@dataclass(frozen=True, slots=True)
class PairedChange:
    """One metric of stored codes minus fresh codes on the same clips, equal codes counting 0.

    `p_value` is the chance of such a loss if the true one were no more than `margin`, `adjusted_p`
    the same corrected for all shards. `unmeasured` clips differ and have no figure.
    """

    metric: str
    difference: Interval
    p_value: float
    adjusted_p: float
    margin: float
    unmeasured: int
    state: CodesState


@dataclass(frozen=True, slots=True)
class ShardVerdict:
    """What the audit says about one shard.

    `codes` and `content` answer the two questions apart, `verdict` is the worse of both; `doubts`
    say why one cannot be answered. With no bad clip in the sample, up to `unseen_share` of the
    shard's clips may still be bad. `odd_clips` are named, whatever the verdict.
    """

    shard: str
    verdict: Verdict
    codes: Verdict
    codes_state: CodesState
    content: Verdict
    faults: tuple[Fault, ...]
    doubts: tuple[str, ...]
    odd_clips: tuple[str, ...]
    unseen_share: float
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
    """The whole verdict of one audit.

    `unread` are the shards whose tar could not be looked at, `doubts` why the run as a whole cannot
    be judged. With `codes_only` the sound was not asked for: it is shown, and judges nothing.
    """

    verdict: Verdict
    shards: tuple[ShardVerdict, ...]
    groups: tuple[GroupVerdict, ...]
    thresholds: Thresholds
    reference: str
    missing: Mapping[str, Mapping[str, int]]
    notes: tuple[str, ...] = ()
    unread: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()
    codes_only: bool = False
    unseen_share: float = 1.0
    codes_state: CodesState = "cannot judge"
    paired: Mapping[str, PairedChange] = field(default_factory=dict)

    @property
    def exit_code(self) -> int:
        """0 when all that was asked for was judged and nothing was found, else 1."""
        return 0 if self.verdict == "ok" else 1

    @property
    def codes(self) -> Verdict:
        """The answer to the first question: are these the codes of this codec for this audio?"""
        return worst([shard.codes for shard in self.shards])

    @property
    def content(self) -> Verdict:
        """The answer to the second: is the data as good through this codec as its reference?"""
        return worst([shard.content for shard in self.shards])

    @property
    def run_changes(self) -> Mapping[str, Change]:
        """The metrics of the whole run."""
        return next((group.changes for group in self.groups if group.level == "run"), {})

    def count(self, verdict: Verdict) -> int:
        """Shards with that verdict."""
        return sum(shard.verdict == verdict for shard in self.shards)


def worst(verdicts: Sequence[Verdict]) -> Verdict:
    """The worst of several verdicts; `ok` of none."""
    return max(verdicts, key=VERDICTS.index, default="ok")
