"""From findings to verdicts: every shard, every group and the run."""

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from pipeline.audit.findings import (
    METRIC_NAMES,
    METRICS,
    SIDE_ROUNDING,
    AuditFindings,
    ClipFinding,
    Scores,
)
from pipeline.audit.judge.baseline import Baseline, by_shard
from pipeline.audit.judge.causes import drift_faults, flip_rate, flip_rates
from pipeline.audit.judge.content import Changes, run_changes, shard_changes
from pipeline.audit.judge.faults import fault
from pipeline.audit.judge.intervals import mean_interval, share_interval
from pipeline.audit.judge.judgement import (
    VERDICTS,
    Fault,
    GroupVerdict,
    Judgement,
    Level,
    PairedChange,
    ShardVerdict,
    Verdict,
)
from pipeline.audit.judge.significance import paired_test
from pipeline.audit.judge.thresholds import Thresholds
from pipeline.audit.judge.token_faults import token_faults, usual_top_shares
from pipeline.audit.metrics.reasons import Reason
from pipeline.audit.report.notes import notes
from pipeline.audit.sample.sampling import dnsmos_band

_LABELS = {metric.name: metric.label for metric in METRICS}
_NOTHING = Scores()
_NOISE_SIGNS = ("dnsmos_original", "dnsmos_p808_original")


def judge(
    findings: AuditFindings,
    baseline: Baseline | None = None,
    thresholds: Thresholds | None = None,
) -> Judgement:
    """Judge everything that was measured."""
    thresholds = thresholds or Thresholds()
    clips = by_shard(findings.clips)
    tokens = {report.shard: report for report in findings.tokens}
    changes = shard_changes(findings.clips, baseline, thresholds)
    usual = usual_top_shares(findings.tokens)
    allowed = allowed_flip_rate(findings, thresholds)
    shards = []
    for shard in sorted({*clips, *tokens}):
        members, report = clips.get(shard, []), tokens.get(shard)
        found = token_faults(report, usual, thresholds) if report else ()
        found += drift_faults(members, allowed) if _drifts(members, allowed, thresholds) else ()
        # Two checks may come upon the same fault; the first has the better evidence.
        found = tuple({item.name: item for item in reversed(found)}.values())[::-1]
        found = _heard(found, members, allowed)
        found += _content_faults(members, changes.get(shard, {}), thresholds)
        shards.append(_shard_verdict(shard, members, found, changes.get(shard, {}), thresholds))
    groups = _groups(findings.clips, baseline, thresholds)
    return Judgement(
        verdict=_worst([shard.verdict for shard in shards] + _group_verdicts(groups)),
        shards=tuple(shards),
        groups=groups,
        thresholds=thresholds,
        reference=baseline.label if baseline else "the other shards of this run",
        missing=_missing(findings.clips),
        notes=notes(findings, baseline, allowed),
        unread=tuple(report.shard for report in findings.tokens if report.source.unread),
    )


def allowed_flip_rate(findings: AuditFindings, thresholds: Thresholds) -> float:
    """The flip rate that is no drift: none where platform and precision are the run's own."""
    if findings.same_platform:
        return thresholds.max_flip_rate
    expected = findings.expected_flip_rate
    usual = float(np.mean(expected)) if expected else thresholds.unknown_flip_rate
    return max(thresholds.max_flip_rate, thresholds.flip_factor * usual)


def _drifts(clips: Sequence[ClipFinding], allowed: float, thresholds: Thresholds) -> bool:
    """Whether a shard drifts: one clip is enough where codes must be equal."""
    drifts = [clip.drift for clip in clips if clip.drift is not None]
    if not drifts:
        return False
    # Codes of another platform may flip; side values only round.
    if any(drift.side_error > SIDE_ROUNDING for drift in drifts):
        return True
    rates = np.array([flip_rate(drift) for drift in drifts])
    if allowed <= thresholds.max_flip_rate:
        return bool((rates > allowed).any())
    # Far beyond the yardstick no rounding explains a clip; nearer to it the shard's mean decides.
    return bool((rates > max(0.2, 5 * allowed)).any()) or mean_interval(rates).low > allowed


def _heard(
    found: tuple[Fault, ...], clips: Sequence[ClipFinding], allowed: float
) -> tuple[Fault, ...]:
    """Repeated frames are no damage where the audio repeats them too, as silence does."""
    rates = [flip_rate(clip.drift) for clip in clips if clip.drift is not None]
    if not rates or max(rates) > allowed:
        return found
    return tuple(
        fault("silence", f"{item.evidence}, as their audio does", item.num_clips)
        if item.name == "stuck frames"
        else item
        for item in found
    )


def _content_faults(
    clips: Sequence[ClipFinding], changes: Changes, thresholds: Thresholds
) -> tuple[Fault, ...]:
    silent = _silence(clips, thresholds)
    if silent:
        return (silent,)
    unusual = [change for change in changes.values() if change.unusual]
    if not unusual:
        return ()
    strongest = sorted(unusual, key=lambda change: -abs(change.shift or 0.0))
    words = [
        f"{_LABELS[change.metric]} {change.difference.estimate:+.3g}"
        for change in strongest[:3]
        if change.difference
    ]
    noisy = any(change.metric in _NOISE_SIGNS for change in unusual)
    name = "noise" if noisy else "other content"
    return (fault(name, "mean against the reference: " + ", ".join(words), len(clips)),)


def _silence(clips: Sequence[ClipFinding], thresholds: Thresholds) -> Fault | None:
    shares = [clip.scores.silent_original for clip in clips]
    known = [share for share in shares if share is not None]
    silent = sum(share > thresholds.silent_share for share in known)
    # One silent clip in ten is ordinary; the lower bound keeps small samples from crying wolf.
    if not silent or share_interval(silent, len(known)).low <= thresholds.silent_clips:
        return None
    return fault("silence", f"{silent} of {len(known)} sampled clips are silent", silent)


def _shard_verdict(
    shard: str,
    clips: Sequence[ClipFinding],
    found: tuple[Fault, ...],
    changes: Changes,
    thresholds: Thresholds,
) -> ShardVerdict:
    drifts = [clip.drift for clip in clips if clip.drift is not None]
    measured = sum(clip.drift is not None or clip.scores != _NOTHING for clip in clips)
    sparse: list[Verdict] = ["too few clips"] if measured < thresholds.min_clips else []
    return ShardVerdict(
        shard=shard,
        verdict=_worst([item.verdict for item in found] + sparse),
        faults=tuple(sorted(found, key=lambda item: -VERDICTS.index(item.verdict))),
        num_clips=len(clips),
        num_compared=len(drifts),
        num_differing=sum(not drift.equal for drift in drifts),
        flip_rates=flip_rates(clips),
        changes=changes,
        paired=paired_changes(clips),
    )


def paired_changes(clips: Sequence[ClipFinding]) -> dict[str, PairedChange]:
    """Every metric of stored minus fresh codes, over the clips where the two differ."""
    drifts = [clip.drift for clip in clips if clip.drift and not clip.drift.equal]
    changes = {}
    for metric in METRIC_NAMES:
        found = [getattr(drift.paired, metric) for drift in drifts]
        values = np.array([value for value in found if value is not None], dtype=np.float64)
        if len(values):
            changes[metric] = PairedChange(metric, mean_interval(values), paired_test(values))
    return changes


def _worst(verdicts: Sequence[Verdict]) -> Verdict:
    return max(verdicts, key=VERDICTS.index, default="ok")


def _groups(
    clips: Sequence[ClipFinding], baseline: Baseline | None, thresholds: Thresholds
) -> tuple[GroupVerdict, ...]:
    members: dict[tuple[Level, str], list[ClipFinding]] = {("run", "all clips"): list(clips)}
    for clip in clips:
        if clip.corpus:
            members.setdefault(("corpus", clip.corpus), []).append(clip)
        if clip.language:
            members.setdefault(("language", clip.language), []).append(clip)
        if band := dnsmos_band(clip.source_dnsmos):
            members.setdefault(("DNSMOS", f"{band}+"), []).append(clip)
    keyed = {f"{level}\n{name}": group for (level, name), group in members.items() if group}
    changes = run_changes(keyed, baseline, thresholds)
    return tuple(
        GroupVerdict(
            level=level,
            name=name,
            num_clips=len(group),
            num_shards=len({clip.shard for clip in group}),
            changes=changes[f"{level}\n{name}"],
        )
        for (level, name), group in members.items()
        if group
    )


def _group_verdicts(groups: Sequence[GroupVerdict]) -> list[Verdict]:
    # DNSMOS bands differ from the baseline by construction: they are shown, and judge nothing.
    judged = [group for group in groups if group.level != "DNSMOS"]
    return ["unusual content" for group in judged if group.unusual]


def _missing(clips: Sequence[ClipFinding]) -> Mapping[str, Mapping[str, int]]:
    counts: dict[str, Counter[str]] = {}
    for clip in clips:
        for what, reason in clip.reasons.items():
            if reason != Reason.NOT_ASKED:
                counts.setdefault(what, Counter())[reason] += 1
    return {what: dict(counter.most_common()) for what, counter in sorted(counts.items())}
