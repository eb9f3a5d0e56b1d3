"""How good the data is through this codec: shards and groups against a reference, unpaired.

A shard is compared with other shards by its means, clips of each language with shards of that
language. A metric is unusual when it is worse by a distance worth telling and beyond chance, with
one correction over everything that is tested in an audit. All metrics together are one test more
of each shard, which finds what moves several of them a little.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf

import numpy as np

from pipeline.audit.findings import (
    CODE_BITS,
    METRICS,
    ORDER_BITS,
    TEXT_METRICS,
    TOGETHER,
    AuditFindings,
    Better,
    ClipFinding,
    Metric,
)
from pipeline.audit.judge.baseline import Baseline
from pipeline.audit.judge.inference import (
    Interval,
    Prediction,
    Values,
    clustered_mean,
    holm,
    predict_many,
)
from pipeline.audit.judge.judgement import Change
from pipeline.audit.judge.reference import (
    ClipColumns,
    Rows,
    by_shard,
    spoken,
)
from pipeline.audit.judge.standing import Standing, Standings
from pipeline.audit.judge.thresholds import MINIMUM_EFFECTS, Thresholds
from pipeline.audit.judge.tokens import code_changes
from pipeline.plural import plural

Changes = dict[str, Change]
# With more values than this that have nothing to be compared with, the others do not speak for all.
_MOST_UNCOMPARED = 0.2
# Shares of the chance of a false alarm: of the scores of all metrics together, and of DNSMOS of the
# original, which alone shows noise in the recordings. All other metrics have the rest.
_SHARES: Mapping[str, float] = {TOGETHER: 0.5, "dnsmos_original": 0.15}
_JUDGED_NEUTRAL: Mapping[str, Better] = {"dnsmos_original": "higher"}
_BETTER = {metric.name: _JUDGED_NEUTRAL.get(metric.name, metric.better) for metric in METRICS}
_BEST_AT_ZERO = (name for name, better in _BETTER.items() if better == "zero")
_TWO_SIDED = frozenset((CODE_BITS, ORDER_BITS, *_BEST_AT_ZERO))


@dataclass(frozen=True, slots=True)
class ContentChanges:
    """What was measured and tested of every shard and every group."""

    shards: Mapping[str, Changes]
    groups: Mapping[str, Changes]


def content_changes(
    findings: AuditFindings,
    groups: Mapping[str, Sequence[ClipFinding]],
    judged: Collection[str],
    baseline: Baseline | None,
    thresholds: Thresholds,
) -> ContentChanges:
    """Every metric of every shard against the baseline or the other shards, of groups against it.

    Args:
        groups: named sets of clips, such as the whole run or a language.
        judged: which of them are tested; the others are measured only.
    """
    columns = ClipColumns(spoken(findings.drawn))
    other = _other_models(findings, baseline)
    tested = Standings(columns, baseline or columns)
    shards = _shard_changes(tested, other, thresholds)
    members = by_shard(findings.clips)
    for shard, of_codes in code_changes(findings.tokens, members).items():
        shards.setdefault(shard, {}).update(of_codes)
    found = {}
    for name, group in groups.items():
        is_judged = bool(baseline) and name in judged
        rows = columns.rows(spoken(group))
        found[name] = _group_changes(tested, rows, is_judged, other, thresholds)
    return _corrected(ContentChanges(shards, found), thresholds)


def _other_models(findings: AuditFindings, baseline: Baseline | None) -> dict[str, str]:
    """The metrics that the baseline has of another model, and what is to be said of them."""
    if baseline is None:
        return {}
    found = {}
    if findings.clips and baseline.sim_model != findings.sim_model:
        found["sim"] = "the baseline has another speaker model"
    if findings.asr_model and baseline.asr_model != findings.asr_model:
        found |= dict.fromkeys(TEXT_METRICS, "the baseline has another recogniser, or none")
    return found


def _shard_changes(
    tested: Standings, other: Mapping[str, str], thresholds: Thresholds
) -> dict[str, Changes]:
    shards: dict[str, Changes] = {}
    for metric in METRICS:
        judges = thresholds.minimum_effect(metric.name) is not None
        samples = tested.columns.samples(tested.columns.column(metric.name))
        for shard, sample in samples.items():
            change = Change(metric.name, sample.estimate.interval)
            if metric.name in other:
                change = replace(change, unjudged=other[metric.name])
            elif judges:
                change = _change_of_shard(change, shard, metric, tested, thresholds)
            shards.setdefault(shard, {})[metric.name] = change
    for shard, changes in shards.items():
        together, count = tested.together(shard)
        changes[TOGETHER] = _all_metrics(together, count, other, thresholds)
    return dict(sorted(shards.items()))


def _change_of_shard(
    change: Change, shard: str, metric: Metric, tested: Standings, thresholds: Thresholds
) -> Change:
    standing, count = tested.standing(shard, metric.name)
    if standing is None:
        _, language = tested.groups_of[shard][0]
        of = f" of language `{language}`" if language else ""
        return replace(change, unjudged=f"fewer than 3 shards{of} to compare with")
    if count < thresholds.min_clips:
        return replace(
            change, unjudged=f"{plural(count, 'value')}, fewer than {thresholds.min_clips}"
        )
    compared = _compared(change, standing, metric, count)
    left = change.mean.num_values - count
    if left > _MOST_UNCOMPARED * change.mean.num_values:
        values = f"{left} of {plural(change.mean.num_values, 'value')}"
        compared = replace(
            compared, unjudged=f"{values} of a language of fewer than 3 shards to compare with"
        )
    return compared


def _all_metrics(
    found: Prediction | None, num_clips: int, other: Mapping[str, str], thresholds: Thresholds
) -> Change:
    """The test of all metrics together, in standard deviations of the reference's shard means."""
    change = Change(TOGETHER, Interval(0.0, -inf, inf, num_clips))
    if other:
        return replace(change, unjudged=next(iter(other.values())))
    if found is None:
        return replace(
            change, unjudged="fewer than two metrics, or fewer than 3 shards that have them"
        )
    if num_clips < thresholds.min_clips:
        return replace(
            change, unjudged=f"{plural(num_clips, 'value')}, fewer than {thresholds.min_clips}"
        )
    if found.between <= 0:
        return replace(change, unjudged="all shards of the reference are the same")
    scaled = Prediction(
        found.difference / found.between, found.error / found.between, 1.0, found.num_shards
    )
    return replace(
        change,
        reference_mean=0.0,
        num_reference_shards=found.num_shards,
        mean=scaled.interval(num_clips),
        difference=scaled.interval(num_clips),
        worse_by=scaled.difference,
        p_value=scaled.p_higher,
        tested=scaled,
    )


def _group_changes(
    tested: Standings,
    rows: Rows,
    is_judged: bool,
    other: Mapping[str, str],
    thresholds: Thresholds,
) -> Changes:
    columns, groups = tested.columns, tested.columns.groups_of(rows)
    shards = [shard for shard, _ in columns.by_shard(rows)]
    changes = {}
    for metric in METRICS:
        values = columns.column(metric.name, rows)
        known = rows[np.isfinite(values)]
        values = values[np.isfinite(values)]
        if not len(values):
            continue
        clusters = columns.shards[known], columns.speakers[known]
        mean = clustered_mean(values, *clusters, weights=columns.weights[known])
        change = Change(metric.name, mean.interval)
        if is_judged and metric.name not in other:
            found = [tested.standing(shard, metric.name, groups) for shard in shards]
            standings = [each for each, count in found if each and count >= thresholds.min_clips]
            if standings:
                together = Standing(
                    predict_many([each.tested for each in standings]),
                    predict_many([each.plain for each in standings]),
                    float(np.mean([each.expected for each in standings])),
                )
                change = _compared(change, together, metric, len(values))
                # A group of one shard is that shard, which is tested already.
                change = change if len(standings) > 1 else replace(change, p_value=None)
        changes[metric.name] = change
    if is_judged:
        scored = [tested.together(shard, groups) for shard in shards]
        many = [each for each, count in scored if each and count >= thresholds.min_clips]
        if len(many) > 1:
            count = sum(number for _, number in scored)
            changes[TOGETHER] = _all_metrics(predict_many(many), count, other, thresholds)
    return changes


def _compared(change: Change, standing: Standing, metric: Metric, num_values: int) -> Change:
    better = _BETTER[change.metric]
    tested, plain = standing.tested, standing.plain
    # Ranks are not moved by a few wild values, nor means by another shape about the same mean: what
    # is called worse must be so in both, and the level holds where it holds in either.
    lower = max(tested.p_lower, plain.p_lower)
    higher = max(tested.p_higher, plain.p_higher)
    p_values = {"higher": lower, "lower": higher, "zero": min(1.0, 2 * min(lower, higher))}
    worse_by = plain.difference
    if better == "zero":
        before, now = metric.size(np.array([standing.expected, standing.expected + worse_by]))
        worse_by = float(now - before)
    return replace(
        change,
        reference_mean=standing.expected,
        num_reference_shards=tested.num_shards,
        difference=plain.interval(num_values),
        worse_by=-worse_by if better == "higher" else worse_by,
        p_value=p_values.get(better),
        tested=plain,
    )


def _corrected(found: ContentChanges, thresholds: Thresholds) -> ContentChanges:
    """One family over all tests of all shards and groups: a run errs as often as it says."""
    everything = (*found.shards.values(), *found.groups.values())
    tests = [
        (changes, name)
        for changes in everything
        for name in (TOGETHER, *MINIMUM_EFFECTS)
        if name in changes and changes[name].p_value is not None
    ]
    weights = _weights([name for _, name in tests])
    raw = np.array([changes[name].p_value for changes, name in tests], dtype=np.float64)
    adjusted = holm(raw, weights)
    for (changes, name), corrected, weight in zip(tests, adjusted, weights, strict=True):
        tail = thresholds.false_alarms * float(weight) / (2 if name in _TWO_SIDED else 1)
        changes[name] = _decided(changes, name, float(corrected), tail, thresholds)
    return found


def _weights(names: Sequence[str]) -> Values:
    """The share of the chance that each test has; what is not tested leaves its share."""
    kinds = [name if name in _SHARES else "others" for name in names]
    counts = Counter(kinds)
    rest = 1 - sum(share for kind, share in _SHARES.items() if kind in counts)
    weights = np.array([_SHARES.get(kind, rest) / counts[kind] for kind in kinds], np.float64)
    return np.asarray(weights / weights.sum(), dtype=np.float64)


def _decided(
    changes: Changes, name: str, adjusted: float, tail: float, thresholds: Thresholds
) -> Change:
    """One test with its corrected p-value; a finding where what is worse is worth telling."""
    change, minimum = changes[name], thresholds.minimum_effect(name) or 0.0
    unusual = adjusted <= thresholds.false_alarms
    if unusual:
        heard = [each for each in changes.values() if each.metric not in (CODE_BITS, ORDER_BITS)]
        telling = heard if name == TOGETHER else [change]
        unusual = any(_is_worse(each, thresholds) for each in telling)
    return replace(
        change,
        adjusted_p=adjusted,
        unusual=unusual,
        smallest_found=max(minimum, change.tested.half_width(tail)) if change.tested else None,
    )


def _is_worse(change: Change, thresholds: Thresholds) -> bool:
    minimum = thresholds.minimum_effect(change.metric)
    return minimum is not None and (change.worse_by or 0.0) >= minimum
