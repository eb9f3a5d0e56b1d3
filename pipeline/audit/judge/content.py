"""How good the data is through this codec: every shard and group against a reference, unpaired.

Each clip is ranked among the clips of its own corpus and language, so a shard of mixed languages is
judged fairly; a metric is unusual when it is worse than the reference by the test, corrected for
everything tested together, and by a distance worth telling.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from pipeline.audit.findings import METRICS, Better, ClipFinding
from pipeline.audit.judge.baseline import WHOLE, Baseline, Group, Reference, by_shard, references_of
from pipeline.audit.judge.intervals import Values, mean_interval
from pipeline.audit.judge.judgement import Change
from pipeline.audit.judge.significance import (
    RankTest,
    benjamini_hochberg,
    holm,
    rank_test,
    ranks_in,
)
from pipeline.audit.judge.thresholds import Thresholds

Changes = dict[str, Change]
_JUDGED_NEUTRAL: Mapping[str, Better] = {
    "dnsmos_original": "higher",
    "dnsmos_p808_original": "higher",
}
_METRICS = {metric.name: metric for metric in METRICS}
_BETTER = {metric.name: _JUDGED_NEUTRAL.get(metric.name, metric.better) for metric in METRICS}
# Of few shards little is known of how much good ones differ, and no test gets far. A shard that
# lies below nearly all of a given baseline, by several times what matters, needs none.
_EXTREME_SHIFT, _EXTREME_EFFECTS = 0.9, 3.0
# With more shards than this a shard's own clips hardly move the run it is compared with.
_LEAVE_OUT_SHARDS = 60


@dataclass(frozen=True, slots=True)
class _Standing:
    """Where one metric of some clips stands in their references; sizes of those best at zero."""

    test: RankTest
    mean: float
    reference_mean: float
    signed_reference_mean: float


def shard_changes(
    clips: Sequence[ClipFinding], baseline: Baseline | None, thresholds: Thresholds
) -> dict[str, Changes]:
    """Every metric of every shard against the baseline, or against the run's other shards."""
    shards = by_shard(clips)
    # A shard of silence says nothing of how speech should sound, and would make speech stand out.
    heard = [
        clip for clip in clips if (clip.scores.silent_original or 0) <= thresholds.silent_share
    ]
    run = baseline or (_other_clips(heard, None) if len(shards) > _LEAVE_OUT_SHARDS else None)
    changes = {}
    for shard, members in shards.items():
        reference = run or _other_clips(heard, shard)
        tested = len(members) >= thresholds.min_clips
        changes[shard] = group_changes(members, reference if tested else None)
    return _corrected(changes, thresholds, benjamini_hochberg, baseline is not None)


def _other_clips(clips: Sequence[ClipFinding], shard: str | None) -> Baseline | None:
    others = [clip for clip in clips if clip.shard != shard]
    if len(others) < 2:
        return None
    return Baseline("this run", others[0].sim_model, "", references_of(others))


def run_changes(
    groups: Mapping[str, Sequence[ClipFinding]], baseline: Baseline | None, thresholds: Thresholds
) -> dict[str, Changes]:
    """Every metric of the whole run, a corpus or a language against the baseline, if any."""
    changes = {
        name: group_changes(
            members, baseline if len(members) >= thresholds.min_clips else None, spread=False
        )
        for name, members in groups.items()
    }
    return _corrected(changes, thresholds, holm, baseline is not None)


def group_changes(
    clips: Sequence[ClipFinding], baseline: Baseline | None, spread: bool = True
) -> Changes:
    """Every metric some of `clips` have, with its mean and, against a baseline, its raw test."""
    changes = {}
    groups = [baseline.group_of(clip) for clip in clips] if baseline else []
    for metric in METRICS:
        values, positions = _column(clips, metric.name)
        if not len(values):
            continue
        change = Change(metric.name, mean_interval(values))
        same_model = (
            metric.name != "sim" or not baseline or clips[0].sim_model == baseline.sim_model
        )
        if baseline and same_model:
            own = [groups[position] for position in positions]
            standing = _standing(values, own, metric.name, baseline, spread)
            change = _compared(change, standing) if standing else change
        changes[metric.name] = change
    return changes


def _column(clips: Sequence[ClipFinding], metric: str) -> tuple[Values, list[int]]:
    found = [
        (value, position)
        for position, clip in enumerate(clips)
        if (value := getattr(clip.scores, metric)) is not None and value == value
    ]
    return np.array([value for value, _ in found]), [position for _, position in found]


def _standing(
    values: Values, groups: Sequence[Group], metric: str, baseline: Baseline, spread: bool
) -> _Standing | None:
    whole = baseline.reference(WHOLE, metric)
    if whole is None:
        return None
    values = _METRICS[metric].size(values)
    ranks, expected, signed = (np.empty(len(values)) for _ in range(3))
    smallest, between = whole.num_clips, whole.spread
    for group in set(groups):
        reference = baseline.reference(group, metric) or whole
        inside = np.array([own == group for own in groups], dtype=np.bool_)
        sizes, mean_size = _sizes(reference, metric)
        ranks[inside] = ranks_in(values[inside], sizes)
        signed[inside] = reference.mean
        expected[inside] = mean_size
        smallest = min(smallest, reference.num_clips)
        if reference.spread.num_shards >= 3:
            between = reference.spread
    test = rank_test(ranks, smallest, between if spread else None)
    return _Standing(test, float(values.mean()), float(expected.mean()), float(signed.mean()))


def _sizes(reference: Reference, metric: str) -> tuple[Values, float]:
    """What a reference compares: its values and their mean, or their sizes where zero is best."""
    if _METRICS[metric].better != "zero":
        return reference.values, reference.mean
    sizes = np.sort(_METRICS[metric].size(reference.values))
    return sizes, float(sizes.mean())


def _compared(change: Change, standing: _Standing) -> Change:
    better = _BETTER[change.metric]
    lower, higher = standing.test.p_lower, standing.test.p_higher
    p_values = {"higher": lower, "lower": higher, "zero": higher}
    sign = -1 if better == "higher" else 1
    return replace(
        change,
        reference_mean=standing.signed_reference_mean,
        difference=change.mean.moved(-standing.signed_reference_mean),
        shift=2 * standing.test.rank - 1,
        worse_by=sign * (standing.mean - standing.reference_mean),
        p_value=p_values.get(better),
    )


def _corrected(
    changes: dict[str, Changes],
    thresholds: Thresholds,
    correction: Callable[[Values], Values],
    has_baseline: bool,
) -> dict[str, Changes]:
    tests = [
        (name, metric)
        for name, group in changes.items()
        for metric, change in group.items()
        if change.p_value is not None and thresholds.minimum_effect(metric) is not None
    ]
    if not tests:
        return changes
    raw = np.array([changes[name][metric].p_value for name, metric in tests], dtype=np.float64)
    for (name, metric), adjusted in zip(tests, correction(raw), strict=True):
        change = replace(changes[name][metric], adjusted_p=float(adjusted))
        unusual = _is_unusual(change, thresholds) or (
            has_baseline and _is_extreme(change, thresholds)
        )
        changes[name][metric] = replace(change, unusual=unusual)
    return changes


def _is_unusual(change: Change, thresholds: Thresholds) -> bool:
    is_significant = (change.adjusted_p or 0.0) <= thresholds.false_alarms
    return is_significant and _is_worse(change, thresholds, thresholds.min_shift, 1.0)


def _is_extreme(change: Change, thresholds: Thresholds) -> bool:
    shift = max(_EXTREME_SHIFT, thresholds.min_shift)
    return _is_worse(change, thresholds, shift, _EXTREME_EFFECTS)


def _is_worse(change: Change, thresholds: Thresholds, min_shift: float, effects: float) -> bool:
    minimum = thresholds.minimum_effect(change.metric)
    if minimum is None or change.worse_by is None or change.shift is None:
        return False
    shift = -change.shift if _BETTER[change.metric] == "higher" else change.shift
    return change.worse_by >= effects * minimum and shift >= min_shift
