"""Whether stored codes are those of their audio, judged where they differ by what is heard.

Codes that differ are decoded beside fresh ones: the paired differences of SIM and STOI of a shard,
and PESQ of a run, are held against margins. Codes that belong to other audio have drifted, however
they sound; `faults.py` tells which those are.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import sqrt

import numpy as np
from scipy.special import stdtr

from pipeline.audit.findings import LABELS, SIDE_ROUNDING, AuditFindings, ClipFinding, Drift
from pipeline.audit.judge.faults import cause_of, drift_faults, fault, flip_rate
from pipeline.audit.judge.inference import (
    MIN_SHARDS,
    Estimate,
    Sample,
    Values,
    effective_number,
    holm,
    mean_interval,
    quantile_above,
)
from pipeline.audit.judge.judgement import CodesState, Fault, PairedChange
from pipeline.audit.judge.reference import by_shard
from pipeline.audit.judge.thresholds import DRIFT_MARGINS, Thresholds
from pipeline.plural import plural

# PESQ jumps from clip to clip, so it is judged over the whole run only, and without its tails.
_OF_SHARDS, _OF_RUNS = ("sim", "stoi"), ("sim", "stoi", "pesq_wb")
_TRIMMED = {"pesq_wb": 0.1}
# Equivalence is two one-sided tests at this level, so the interval has a level of 1 - 2 * 0.05.
_EQUIVALENCE = 0.05
# Causes that leave open how it sounds; any other says that the codes are of other audio.
_SOFT = ("scattered flips", "changed audio")
# On its own platform a run promises equal codes. A rounding here and there is heard and judged;
# more than this is another computation.
_MOST_FLIPS = 0.002
# A clip with more flips than this is named, or with a difference of so many margins.
_ODD_FLIPS, _ODD_MARGINS = 0.05, 10.0
# More of the clips without a figure than this leave a mean that says little.
_MOST_UNMEASURED = 0.2
# Elsewhere than on the run's own platform this many times the expected flip rate is usual, and so
# many flips where none was recorded.
_FLIP_FACTOR, _UNKNOWN_FLIP_RATE = 3.0, 0.01


@dataclass(frozen=True, slots=True)
class CodesJudgement:
    """The answer for one shard, or with a trimmed PESQ for the run."""

    state: CodesState
    faults: tuple[Fault, ...] = ()
    doubts: tuple[str, ...] = ()
    odd_clips: tuple[str, ...] = ()
    paired: Mapping[str, PairedChange] = field(default_factory=dict)


def allowed_flip_rate(findings: AuditFindings, thresholds: Thresholds) -> float:
    """The flip rate to be expected: none where platform and precision are the run's own."""
    if findings.same_platform:
        return thresholds.max_flip_rate
    expected = findings.expected_flip_rate
    usual = float(np.mean(expected)) if expected else _UNKNOWN_FLIP_RATE
    return max(thresholds.max_flip_rate, _FLIP_FACTOR * usual)


def judge_codes(
    findings: AuditFindings, rows: Mapping[str, int], thresholds: Thresholds
) -> tuple[dict[str, CodesJudgement], CodesJudgement]:
    """The answer for every shard and for the run; `rows` says how many clips a shard has."""
    shards = sorted(by_shard(findings.clips).items())
    paired = {name: _paired(_drawn(clips), _OF_SHARDS) for name, clips in shards}
    paired = _corrected(paired)
    judged = {
        name: _judge_shard(clips, rows.get(name, len(clips)), paired[name], findings, thresholds)
        for name, clips in shards
    }
    return judged, _judge_run([clips for _, clips in shards], thresholds)


def _drawn(clips: Sequence[ClipFinding]) -> list[ClipFinding]:
    return [clip for clip in clips if clip.drawn and clip.drift is not None]


@dataclass(frozen=True, slots=True)
class _Differences:
    """Stored minus fresh of every clip that has a figure, 0 where codes are equal.

    `weights` are those of the sample: by `--stratify` clips of rare strata stand for fewer.
    """

    values: Values
    weights: Values
    unmeasured: int

    @classmethod
    def of(cls, clips: Sequence[ClipFinding], metric: str) -> "_Differences":
        """One metric of clips that were compared."""
        drifts = [clip.drift for clip in clips if clip.drift is not None]
        found = [0.0 if each.equal else getattr(each.paired, metric) for each in drifts]
        values = np.array(found, dtype=np.float64)  # NumPy takes `None` for NaN.
        known = np.isfinite(values)
        weights = np.array([clip.weight for clip in clips], dtype=np.float64)
        return cls(values[known], weights[known], int((~known).sum()))

    def estimate(self) -> Estimate:
        """The mean of what was drawn clip by clip."""
        count = len(self.values)
        mean = float(np.average(self.values, weights=self.weights))
        squares = float(np.average((self.values - mean) ** 2, weights=self.weights))
        variance = squares * count / max(count - 1, 1)
        return Sample(mean, variance, count, effective_number(self.weights)).estimate

    def mean(self, trimmed: float) -> float:
        """The mean without clips of a share of the weight at either end."""
        order = np.argsort(self.values, kind="stable")
        values, weights = self.values[order], self.weights[order]
        most = trimmed * weights.sum() * (1 + 1e-9)
        kept = (np.cumsum(weights) > most) & (np.cumsum(weights[::-1])[::-1] > most)
        return float(np.average(values[kept], weights=weights[kept]))


def _differing(clips: Sequence[ClipFinding]) -> int:
    return sum(clip.drift is not None and not clip.drift.equal for clip in clips)


def _paired(clips: Sequence[ClipFinding], metrics: Sequence[str]) -> dict[str, PairedChange]:
    """The paired differences of a shard whose codes are not all equal."""
    differing = _differing(clips)
    changes = {}
    for metric in metrics if differing else ():
        found = _Differences.of(clips, metric)
        if differing > found.unmeasured and len(found.values) > 1:
            changes[metric] = _change(metric, found.estimate(), found.unmeasured)
    return changes


def _change(metric: str, found: Estimate, unmeasured: int) -> PairedChange:
    margin = DRIFT_MARGINS[metric]
    half = quantile_above(_EQUIVALENCE, found.freedom) * found.error
    lost = -margin - found.value
    p_value = float(stdtr(found.freedom, -lost / found.error)) if found.error else lost <= 0
    few = unmeasured > _MOST_UNMEASURED * (found.num_values + unmeasured)
    inside = abs(found.value) + half <= margin and not few
    return PairedChange(
        metric=metric,
        difference=found.interval,
        p_value=float(p_value),
        adjusted_p=float(p_value),
        margin=margin,
        unmeasured=unmeasured,
        state="equivalent" if inside else "cannot judge",
    )


def _corrected(
    shards: Mapping[str, Mapping[str, PairedChange]], level: float = 0.01
) -> dict[str, dict[str, PairedChange]]:
    """`drifted` where a loss beyond the margin is proven, with one correction over all shards."""
    places = [(shard, metric) for shard, changes in shards.items() for metric in changes]
    found = {shard: dict(changes) for shard, changes in shards.items()}
    raw = np.array([found[shard][metric].p_value for shard, metric in places])
    for (shard, metric), adjusted in zip(places, holm(raw), strict=True):
        state: CodesState = "drifted" if adjusted <= level else found[shard][metric].state
        found[shard][metric] = replace(
            found[shard][metric], adjusted_p=float(adjusted), state=state
        )
    return found


def _judge_shard(
    clips: Sequence[ClipFinding],
    rows: int,
    paired: Mapping[str, PairedChange],
    findings: AuditFindings,
    thresholds: Thresholds,
) -> CodesJudgement:
    allowed = allowed_flip_rate(findings, thresholds)
    compared = [clip.drift for clip in clips if clip.drift is not None]
    faults = _faults(clips, compared, paired, allowed, findings.same_platform)
    odd = _odd_clips(clips, allowed)
    if faults:
        return CodesJudgement("drifted", faults, (), odd, paired)
    doubts = _doubts(clips, rows, thresholds) if findings.reencoded else ()
    if all(drift.equal for drift in compared):
        return CodesJudgement("equal" if compared and not doubts else "cannot judge", (), doubts)
    if not paired:
        doubts += ("codes differ, and neither SIM nor STOI was measured on both sides",)
    doubts += tuple(_open_words(each) for each in paired.values() if each.state == "cannot judge")
    state: CodesState = "cannot judge" if doubts else "equivalent"
    return CodesJudgement(state, (), doubts, odd, paired)


def _open_words(change: PairedChange) -> str:
    return (
        f"codes differ, and {LABELS[change.metric]} of "
        f"{plural(change.difference.num_values, 'clip')} does "
        f"not show that they sound alike within {change.margin:g}"
    )


def _faults(
    clips: Sequence[ClipFinding],
    compared: Sequence[Drift],
    paired: Mapping[str, PairedChange],
    allowed: float,
    same_platform: bool,
) -> tuple[Fault, ...]:
    causes = [cause_of(drift, allowed) for drift in compared]
    hard = [cause for cause in causes if cause is not None and cause not in _SOFT]
    rates = [flip_rate(drift) for drift in compared]
    drawn = np.array([flip_rate(each.drift) for each in _drawn(clips) if each.drift is not None])
    lost = [each for each in paired.values() if each.state == "drifted"]
    evidence = ", ".join(
        f"{LABELS[each.metric]} {each.difference.estimate:+.3g} against fresh codes (margin "
        f"{each.margin:g})"
        for each in lost
    )
    # Flips that nobody heard, or far more than rounding makes, speak for themselves.
    most = max(allowed, _MOST_FLIPS) if same_platform else allowed
    is_deaf = not paired or same_platform
    many = max(rates, default=0.0) > max(0.2, 5 * allowed)
    if is_deaf and len(drawn):
        many |= float(drawn.mean()) > most and _surely_above(drawn, allowed)
    if not (hard or lost or many or _ruined(compared)):
        return ()
    found = drift_faults(clips, allowed)
    if not found:
        found = (fault("unexplained drift", evidence, len(compared)),)
    elif evidence:
        found = (replace(found[0], evidence=f"{found[0].evidence}; {evidence}"), *found[1:])
    return found


def _surely_above(rates: Values, allowed: float) -> bool:
    """Whether the mean rate is above what is allowed, not by the clips drawn alone."""
    return allowed == 0.0 or mean_interval(rates).low > allowed


def _ruined(drifts: Sequence[Drift]) -> bool:
    """Whether one clip alone is heard to be another sound, or has other side values."""
    return any(drift.side_error > SIDE_ROUNDING or _margins_lost(drift) for drift in drifts)


def _margins_lost(drift: Drift) -> bool:
    if drift.equal:
        return False
    found = ((getattr(drift.paired, name), DRIFT_MARGINS[name]) for name in _OF_SHARDS)
    return any(value is not None and value < -_ODD_MARGINS * margin for value, margin in found)


def _odd_clips(clips: Sequence[ClipFinding], allowed: float) -> tuple[str, ...]:
    """Clips that differ far more than the others may, by name."""
    limit = max(_ODD_FLIPS, 2 * allowed)
    rates = [(flip_rate(clip.drift), clip) for clip in clips if clip.drift is not None]
    odd = [(rate, clip) for rate, clip in rates if rate > limit or _margins_lost_of(clip)]
    odd.sort(key=lambda each: (-each[0], each[1].key))
    return tuple(f"`{clip.key}` differs in {rate:.1%} of its codes" for rate, clip in odd)


def _margins_lost_of(clip: ClipFinding) -> bool:
    return clip.drift is not None and _margins_lost(clip.drift)


def _doubts(clips: Sequence[ClipFinding], rows: int, thresholds: Thresholds) -> tuple[str, ...]:
    """Why too few codes were compared; a shard that was seen whole is always enough."""
    compared = sum(clip.drift is not None for clip in clips)
    needed = min(thresholds.min_clips, rows)
    if compared >= needed:
        return ()
    reasons: dict[str, int] = {}
    for clip in clips:
        for what in ("original", "decode"):
            if clip.drift is None and what in clip.reasons:
                reasons[clip.reasons[what]] = reasons.get(clip.reasons[what], 0) + 1
    why = "".join(f", {count} {reason}" for reason, count in sorted(reasons.items()))
    return (
        f"{compared} of {plural(len(clips), 'sampled clip')} encoded again{why}; {needed} needed",
    )


def _judge_run(shards: Sequence[Sequence[ClipFinding]], thresholds: Thresholds) -> CodesJudgement:
    """The paired differences over shards, each shard one value; PESQ without its tails."""
    drawn = [some for clips in shards if (some := _drawn(clips))]
    together = [clip for each in drawn for clip in each]
    if not together:
        return CodesJudgement("cannot judge")
    if not _differing(together):
        return CodesJudgement("equal")
    changes = {}
    for metric in _OF_RUNS:
        found = _Differences.of(together, metric)
        if len(found.values) >= 2 and found.unmeasured < _differing(together):
            estimate = _over_shards(drawn, metric) or _over_clips(found, metric)
            changes[metric] = _change(metric, estimate, found.unmeasured)
    changes = _corrected({"run": changes}, thresholds.false_alarms)["run"]
    doubts = tuple(_open_words(each) for each in changes.values() if each.state == "cannot judge")
    states = {each.state for each in changes.values()}
    order: tuple[CodesState, ...] = ("drifted", "cannot judge", "equivalent")
    state: CodesState = next((each for each in order if each in states), "cannot judge")
    return CodesJudgement(state, doubts=doubts, paired=changes)


def _over_shards(shards: Sequence[Sequence[ClipFinding]], metric: str) -> Estimate | None:
    """The mean over shards, each one value; None of so few that their spread is not known."""
    each = [_Differences.of(clips, metric) for clips in shards]
    known = [found for found in each if len(found.values)]
    if len(known) < MIN_SHARDS:
        return None
    means = np.array([found.mean(_TRIMMED.get(metric, 0.0)) for found in known])
    error = float(means.std(ddof=1)) / sqrt(len(means))
    num_clips = sum(len(found.values) for found in known)
    return Estimate(float(means.mean()), error, len(means) - 1, num_clips)


def _over_clips(found: _Differences, metric: str) -> Estimate:
    """Of so few shards the clips stand for these shards only."""
    return replace(found.estimate(), value=found.mean(_TRIMMED.get(metric, 0.0)))
