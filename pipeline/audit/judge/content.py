"""How good the data is through this codec: shards and groups against a reference, unpaired.

A shard is compared with other shards by its means, clips of each language with shards of that
language. A metric is unusual when it is worse by a distance worth telling and beyond chance, with
one correction over everything that is tested in an audit. All metrics together are one test more,
which finds what moves several of them a little.
"""

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
from pipeline.audit.judge.code_model import code_changes
from pipeline.audit.judge.inference import (
    Interval,
    Prediction,
    Sample,
    Spread,
    Values,
    clustered_interval,
    holm,
    mean_interval,
    predict,
    predict_many,
)
from pipeline.audit.judge.judgement import Change
from pipeline.audit.judge.reference import (
    ClipColumns,
    Group,
    References,
    by_shard,
    finite_values,
    metric_column,
)
from pipeline.audit.judge.thresholds import (
    MINIMUM_EFFECTS,
    SILENT_SHARE,
    Thresholds,
)
from pipeline.audit.judge.together import normal_scores

Changes = dict[str, Change]
_JUDGED_NEUTRAL: Mapping[str, Better] = {"dnsmos_original": "higher"}
_BETTER = {metric.name: _JUDGED_NEUTRAL.get(metric.name, metric.better) for metric in METRICS}


@dataclass(frozen=True, slots=True)
class ContentChanges:
    """What was measured and tested of every shard and every group."""

    shards: Mapping[str, Changes]
    groups: Mapping[str, Changes]


@dataclass(frozen=True, slots=True)
class _Standing:
    """One metric of some clips against their reference, on the scale of the test and as read."""

    tested: Prediction
    plain: Prediction
    expected: float


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
    clips = findings.drawn
    # A shard of silence says nothing of how speech should sound, and would make speech stand out.
    heard = [clip for clip in clips if (clip.scores.silent_original or 0) <= SILENT_SHARE]
    references: References = baseline or ClipColumns(heard)
    other = _other_models(findings, baseline)
    shards = {
        shard: _shard_changes(shard, members, references, other, thresholds)
        for shard, members in sorted(by_shard(clips).items())
    }
    members = by_shard(findings.clips)
    for shard, of_codes in code_changes(findings.tokens, members).items():
        shards.setdefault(shard, {}).update(of_codes)
    found = {
        name: _group_changes(
            members, references if baseline and name in judged else None, other, thresholds
        )
        for name, members in groups.items()
    }
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
    shard: str,
    clips: Sequence[ClipFinding],
    references: References,
    other: Mapping[str, str],
    thresholds: Thresholds,
) -> Changes:
    changes = {}
    for metric in METRICS:
        values = finite_values(clips, metric.name)
        if not len(values):
            continue
        change = Change(metric.name, mean_interval(values))
        if metric.name in other:
            change = replace(change, unjudged=other[metric.name])
        elif thresholds.minimum_effect(metric.name) is not None:
            change = _tested(change, shard, clips, metric, references, thresholds)
        changes[metric.name] = change
    if changes:
        together, count = _standing_together(shard, clips, references)
        changes[TOGETHER] = _all_metrics(together, count, other, thresholds)
    return changes


def _tested(
    change: Change,
    shard: str,
    clips: Sequence[ClipFinding],
    metric: Metric,
    references: References,
    thresholds: Thresholds,
) -> Change:
    standing, count = _standing(shard, clips, metric, references)
    if standing is None:
        language = clips[0].language
        of = f" of language `{language}`" if language else ""
        return replace(change, unjudged=f"fewer than 3 shards{of} to compare with")
    if count < thresholds.min_clips:
        return replace(change, unjudged=f"{count} values, fewer than {thresholds.min_clips}")
    return _compared(change, standing, count)


def _standing(
    shard: str, clips: Sequence[ClipFinding], metric: Metric, references: References
) -> tuple[_Standing | None, int]:
    """One metric of a shard's clips, each language against its own; and how many values."""
    tested: list[tuple[Sample, Spread]] = []
    plain: list[tuple[Sample, Spread]] = []
    for group, members in _by_group(clips):
        values = finite_values(members, metric.name)
        reference = references.reference(group, metric.name, shard) if len(values) else None
        if reference is not None:
            tested.append((_sample(normal_scores(values, reference.values)), reference.tested))
            plain.append((_sample(values), reference.plain))
    count = sum(sample.num_values for sample, _ in plain)
    if not count:
        return None, 0
    expected = sum(sample.num_values * spread.mean for sample, spread in plain) / count
    return _Standing(predict(tested), predict(plain), expected), count


def _standing_together(
    shard: str, clips: Sequence[ClipFinding], references: References
) -> tuple[Prediction | None, int]:
    """All metrics of a shard's clips as one score; and how many clips have it."""
    parts: list[tuple[Sample, Spread]] = []
    for group, members in _by_group(clips):
        reference = references.together(group, shard)
        if reference is not None:
            names = reference.combination.weights
            columns = {name: metric_column(members, name) for name in names}
            scores = reference.combination.scores(columns)
            scores = scores[np.isfinite(scores)]
            if len(scores):
                parts.append((_sample(scores), reference.spread))
    count = sum(sample.num_values for sample, _ in parts)
    return (predict(parts) if parts else None), count


def _by_group(clips: Sequence[ClipFinding]) -> list[tuple[Group, list[ClipFinding]]]:
    members: dict[Group, list[ClipFinding]] = {}
    for clip in clips:
        members.setdefault((clip.corpus, clip.language), []).append(clip)
    return sorted(members.items(), key=lambda item: (item[0][0] or "", item[0][1] or ""))


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
        return replace(change, unjudged=f"{num_clips} values, fewer than {thresholds.min_clips}")
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


def _sample(values: Values) -> Sample:
    variance = float(values.var(ddof=1)) if len(values) > 1 else 0.0
    return Sample(float(values.mean()), variance, len(values))


def _group_changes(
    clips: Sequence[ClipFinding],
    references: References | None,
    other: Mapping[str, str],
    thresholds: Thresholds,
) -> Changes:
    shards = sorted(by_shard(clips).items())
    changes = {}
    for metric in METRICS:
        found = [finite_values(members, metric.name) for _, members in shards]
        means = np.array([values.mean() for values in found if len(values)])
        if not len(means):
            continue
        count = sum(map(len, found))
        change = Change(metric.name, clustered_interval(means, count))
        if references and metric.name not in other:
            standings = [_standing(name, members, metric, references) for name, members in shards]
            known = [
                standing
                for standing, values in standings
                if standing and values >= thresholds.min_clips
            ]
            if known:
                together = _Standing(
                    predict_many([each.tested for each in known]),
                    predict_many([each.plain for each in known]),
                    float(np.mean([each.expected for each in known])),
                )
                change = _compared(change, together, count)
                # A group of one shard is that shard, which is tested already.
                change = change if len(known) > 1 else replace(change, p_value=None)
        changes[metric.name] = change
    if references:
        scored = [_standing_together(name, members, references) for name, members in shards]
        tested = [found for found, count in scored if found and count >= thresholds.min_clips]
        if len(tested) > 1:
            count = sum(number for _, number in scored)
            changes[TOGETHER] = _all_metrics(predict_many(tested), count, other, thresholds)
    return changes


def _compared(change: Change, standing: _Standing, num_values: int) -> Change:
    better = _BETTER[change.metric]
    tested, plain = standing.tested, standing.plain
    metric = next(each for each in METRICS if each.name == change.metric)
    p_values = {
        "higher": tested.p_lower,
        "lower": tested.p_higher,
        "zero": min(1.0, 2 * min(tested.p_lower, tested.p_higher)),
    }
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
    """Two families, each over all shards and groups: all metrics together, and single metrics."""
    for names in ((TOGETHER,), tuple(MINIMUM_EFFECTS)):
        tests = [
            (changes, name)
            for changes in (*found.shards.values(), *found.groups.values())
            for name in names
            if name in changes and changes[name].p_value is not None
        ]
        raw = np.array([changes[name].p_value for changes, name in tests], dtype=np.float64)
        tail = thresholds.false_alarms / max(len(tests), 1)
        for (changes, name), adjusted in zip(tests, holm(raw), strict=True):
            changes[name] = _decided(changes, name, float(adjusted), tail, thresholds)
    return found


def _decided(
    changes: Changes, name: str, adjusted: float, tail: float, thresholds: Thresholds
) -> Change:
    """One test with its corrected p-value; a finding where what is worse is worth telling."""
    change, minimum = changes[name], thresholds.minimum_effect(name) or 0.0
    heard = [each for each in changes.values() if each.metric not in (CODE_BITS, ORDER_BITS)]
    telling = heard if name == TOGETHER else [change]
    return replace(
        change,
        adjusted_p=adjusted,
        unusual=adjusted <= thresholds.false_alarms
        and any(_is_worse(each, thresholds) for each in telling),
        smallest_found=max(minimum, change.tested.half_width(tail)) if change.tested else None,
    )


def _is_worse(change: Change, thresholds: Thresholds) -> bool:
    minimum = thresholds.minimum_effect(change.metric)
    return minimum is not None and (change.worse_by or 0.0) >= minimum
