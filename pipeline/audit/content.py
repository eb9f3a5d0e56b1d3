"""How good the data is through this codec: every shard and group against a reference, unpaired.

Each clip is ranked among the clips of its own corpus and language, so a shard of mixed languages is
judged fairly; a metric is unusual when it is worse than the reference by the test, corrected for
everything tested together, and by a distance worth telling.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from pipeline.audit.baseline import WHOLE, Baseline, Group, by_shard, references_of
from pipeline.audit.findings import METRICS, Better, ClipFinding
from pipeline.audit.intervals import Values, mean_interval
from pipeline.audit.judgement import Change
from pipeline.audit.significance import RankTest, benjamini_hochberg, holm, rank_test, ranks_in
from pipeline.audit.thresholds import Thresholds

Changes = dict[str, Change]
_JUDGED_NEUTRAL: Mapping[str, Better] = {
    "dnsmos_original": "higher",
    "dnsmos_p808_original": "higher",
}
_BETTER = {metric.name: _JUDGED_NEUTRAL.get(metric.name, metric.better) for metric in METRICS}
# With more shards than this a shard's own clips hardly move the run it is compared with.
_LEAVE_OUT_SHARDS = 60


@dataclass(frozen=True, slots=True)
class _Standing:
    """Where one metric of some clips stands in their references."""

    test: RankTest
    reference_mean: float


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
    return _corrected(changes, thresholds, benjamini_hochberg)


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
    return _corrected(changes, thresholds, holm)


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
    ranks, expected = np.empty(len(values)), np.empty(len(values))
    smallest, between = whole.num_clips, whole.spread
    for group in set(groups):
        reference = baseline.reference(group, metric) or whole
        inside = np.array([own == group for own in groups], dtype=np.bool_)
        ranks[inside] = ranks_in(values[inside], reference.values)
        expected[inside] = reference.mean
        smallest = min(smallest, reference.num_clips)
        if reference.spread.num_shards >= 3:
            between = reference.spread
    test = rank_test(ranks, smallest, between if spread else None)
    return _Standing(test, float(expected.mean()))


def _compared(change: Change, standing: _Standing) -> Change:
    better = _BETTER[change.metric]
    lower, higher = standing.test.p_lower, standing.test.p_higher
    worse = {"higher": lower, "lower": higher, "zero": min(1.0, 2 * min(lower, higher))}
    return replace(
        change,
        reference_mean=standing.reference_mean,
        difference=change.mean.moved(-standing.reference_mean),
        shift=2 * standing.test.rank - 1,
        p_value=worse.get(better),
    )


def _corrected(
    changes: dict[str, Changes], thresholds: Thresholds, correction: Callable[[Values], Values]
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
        changes[name][metric] = replace(change, unusual=_is_unusual(change, thresholds))
    return changes


def _is_unusual(change: Change, thresholds: Thresholds) -> bool:
    minimum = thresholds.minimum_effect(change.metric)
    if minimum is None or change.difference is None or change.shift is None:
        return False
    sign = {"higher": -1, "lower": 1}.get(_BETTER[change.metric])
    distance, shift = change.difference.estimate, change.shift
    if sign is None:
        distance, shift, sign = abs(distance), abs(shift), 1
    significant = (change.adjusted_p or 0.0) <= thresholds.false_alarms
    return significant and sign * distance >= minimum and sign * shift >= thresholds.min_shift
