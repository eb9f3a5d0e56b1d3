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
    TokenReport,
)
from pipeline.audit.judge.baseline import Baseline
from pipeline.audit.judge.causes import drift_faults, flip_rate, flip_rates
from pipeline.audit.judge.content import Changes, content_changes
from pipeline.audit.judge.faults import fault
from pipeline.audit.judge.inference import (
    mean_interval,
    paired_test,
    share_interval,
    unseen_share,
)
from pipeline.audit.judge.judgement import (
    VERDICTS,
    Fault,
    GroupVerdict,
    Judgement,
    Level,
    PairedChange,
    ShardVerdict,
    Verdict,
    worst,
)
from pipeline.audit.judge.reference import by_shard
from pipeline.audit.judge.thresholds import SILENT_CLIPS, SILENT_SHARE, Thresholds
from pipeline.audit.judge.token_faults import token_faults, usual_top_shares
from pipeline.audit.metrics.reasons import Reason
from pipeline.audit.report.notes import notes
from pipeline.audit.sample.sampling import dnsmos_band

_LABELS = {metric.name: metric.label for metric in METRICS}
_NOISE_SIGNS = ("dnsmos_original", "dnsmos_p808_original")
# Elsewhere than on the run's own platform drift begins at this many times the expected flip rate,
# and with this one where none was recorded.
_FLIP_FACTOR, _UNKNOWN_FLIP_RATE = 3.0, 0.01


def judge(
    findings: AuditFindings,
    baseline: Baseline | None = None,
    thresholds: Thresholds | None = None,
    *,
    codes_only: bool = False,
) -> Judgement:
    """Judge everything that was measured; with `codes_only`, not how it sounds."""
    thresholds = thresholds or Thresholds()
    clips = by_shard(findings.clips)
    tokens = {report.shard: report for report in findings.tokens}
    members = _group_members(findings.drawn)
    keyed = {f"{level}\n{name}": group for (level, name), group in members.items()}
    judged = {f"{level}\n{name}" for level, name in _judged_groups(list(members))}
    changes = content_changes(findings.drawn, keyed, judged, baseline, thresholds)
    usual = usual_top_shares(findings.tokens)
    allowed = allowed_flip_rate(findings, thresholds)
    shards = []
    for shard in sorted({*clips, *tokens}):
        sampled, report = clips.get(shard, []), tokens.get(shard)
        found = token_faults(report, usual) if report else ()
        found += drift_faults(sampled, allowed) if _drifts(sampled, allowed, thresholds) else ()
        # Two checks may come upon the same fault; the first has the better evidence.
        found = tuple({item.name: item for item in reversed(found)}.values())[::-1]
        found = _heard(found, sampled, report, allowed)
        own = changes.shards.get(shard, {})
        rows = report.rows if report else len(sampled)
        drawn = [clip for clip in sampled if clip.drawn]
        content = _content_faults(drawn, {} if codes_only else own)
        doubts = _codes_doubts(sampled, rows, findings.reencoded, thresholds)
        unclear = () if codes_only else _content_doubts(drawn, content, own)
        shards.append(_shard_verdict(shard, sampled, found, content, doubts, unclear, own))
    groups = tuple(
        GroupVerdict(
            level=level,
            name=name,
            num_clips=len(group),
            num_shards=len({clip.shard for clip in group}),
            changes=changes.groups[f"{level}\n{name}"],
        )
        for (level, name), group in members.items()
    )
    run_doubts = _run_doubts(findings, shards)
    verdicts = [shard.verdict for shard in shards] + ([] if codes_only else _group_verdicts(groups))
    if run_doubts:
        verdicts.append("cannot judge")
    compared = sum(shard.num_compared for shard in shards)
    return Judgement(
        verdict=worst(verdicts),
        shards=tuple(shards),
        groups=groups,
        thresholds=thresholds,
        reference=baseline.label if baseline else "the other shards of this run",
        missing=_missing(findings.clips),
        notes=notes(findings, baseline, allowed),
        unread=tuple(report.shard for report in findings.tokens if report.source.unread),
        doubts=run_doubts,
        codes_only=codes_only,
        unseen_share=unseen_share(compared),
    )


def _codes_doubts(
    clips: Sequence[ClipFinding], rows: int, asked: bool, thresholds: Thresholds
) -> tuple[str, ...]:
    """Why the codes of a shard cannot be judged; a shard that was seen whole always can."""
    compared = sum(clip.drift is not None for clip in clips)
    if not asked or compared >= min(thresholds.min_clips, rows):
        return ()
    reasons = Counter(
        reason
        for clip in clips
        for what, reason in clip.reasons.items()
        if what in ("original", "decode") and clip.drift is None
    )
    why = "".join(f", {count} {reason}" for reason, count in reasons.most_common())
    return (f"{compared} of {len(clips)} sampled clips were encoded again{why}",)


def _content_doubts(
    clips: Sequence[ClipFinding], content: Sequence[Fault], changes: Changes
) -> tuple[str, ...]:
    """Why the sound of a shard cannot be judged; one metric that was tested is enough."""
    if content or any(change.p_value is not None for change in changes.values()):
        return ()
    untested = Counter(change.unjudged for change in changes.values() if change.unjudged)
    if untested:
        return (f"sound: {untested.most_common(1)[0][0]}",)
    return (f"sound: no metric that judges was measured on {len(clips)} sampled clips",)


def _run_doubts(findings: AuditFindings, shards: Sequence[ShardVerdict]) -> tuple[str, ...]:
    """What was asked for and not measured anywhere, which no shard's verdict shows."""
    absent = sorted(
        {
            what
            for clip in findings.clips
            for what, reason in clip.reasons.items()
            if reason == Reason.NOT_INSTALLED
        }
    )
    doubts = []
    if absent:
        names = ", ".join(_LABELS.get(name, name) for name in absent)
        doubts.append(
            f"{names} cannot be measured: the package is not installed. Install `xytok[audit]`, or "
            "leave it out by `--metrics`"
        )
    if findings.tokens and not any(shard.num_clips for shard in shards):
        doubts.append("Not one clip was sampled: no part has a row")
    return tuple(doubts)


def allowed_flip_rate(findings: AuditFindings, thresholds: Thresholds) -> float:
    """The flip rate that is no drift: none where platform and precision are the run's own."""
    if findings.same_platform:
        return thresholds.max_flip_rate
    expected = findings.expected_flip_rate
    usual = float(np.mean(expected)) if expected else _UNKNOWN_FLIP_RATE
    return max(thresholds.max_flip_rate, _FLIP_FACTOR * usual)


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
    found: tuple[Fault, ...],
    clips: Sequence[ClipFinding],
    report: TokenReport | None,
    allowed: float,
) -> tuple[Fault, ...]:
    """Repeated frames are no damage where the audio was encoded again and repeats them too."""
    stuck = set(report.flagged.get("stuck", ())) if report else set()
    rates = [flip_rate(clip.drift) for clip in clips if clip.drift and clip.row in stuck]
    if not rates or max(rates) > allowed:
        return found
    return tuple(
        fault("silence", f"{item.evidence}, as their audio does", item.num_clips)
        if item.name == "stuck frames"
        else item
        for item in found
    )


def _content_faults(clips: Sequence[ClipFinding], changes: Changes) -> tuple[Fault, ...]:
    silent = _silence(clips)
    if silent:
        return (silent,)
    unusual = [change for change in changes.values() if change.unusual]
    if not unusual:
        return ()
    strongest = sorted(unusual, key=lambda change: change.p_value or 0.0)
    words = [
        f"{_LABELS[change.metric]} {change.difference.estimate:+.3g}"
        for change in strongest[:3]
        if change.difference
    ]
    noisy = any(change.metric in _NOISE_SIGNS for change in unusual)
    name = "noise" if noisy else "other content"
    return (fault(name, "mean against the reference: " + ", ".join(words), len(clips)),)


def _silence(clips: Sequence[ClipFinding]) -> Fault | None:
    shares = [clip.scores.silent_original for clip in clips]
    known = [share for share in shares if share is not None]
    silent = sum(share > SILENT_SHARE for share in known)
    # One silent clip in ten is ordinary; the lower bound keeps small samples from crying wolf.
    if not silent or share_interval(silent, len(known)).low <= SILENT_CLIPS:
        return None
    return fault("silence", f"{silent} of {len(known)} sampled clips are silent", silent)


def _shard_verdict(
    shard: str,
    clips: Sequence[ClipFinding],
    found: tuple[Fault, ...],
    content_faults: tuple[Fault, ...],
    codes_doubts: tuple[str, ...],
    content_doubts: tuple[str, ...],
    changes: Changes,
) -> ShardVerdict:
    drifts = [clip.drift for clip in clips if clip.drift is not None]
    unclear: dict[bool, list[Verdict]] = {True: ["cannot judge"], False: []}
    codes = worst([item.verdict for item in found] + unclear[bool(codes_doubts)])
    content = worst([item.verdict for item in content_faults] + unclear[bool(content_doubts)])
    faults = (*found, *content_faults)
    return ShardVerdict(
        shard=shard,
        verdict=worst([codes, content]),
        codes=codes,
        content=content,
        faults=tuple(sorted(faults, key=lambda item: -VERDICTS.index(item.verdict))),
        doubts=(*codes_doubts, *content_doubts),
        unseen_share=unseen_share(len(drifts)),
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


def _group_members(
    clips: Sequence[ClipFinding],
) -> dict[tuple[Level, str], list[ClipFinding]]:
    members: dict[tuple[Level, str], list[ClipFinding]] = {}
    if clips:
        members["run", "all clips"] = list(clips)
    for clip in clips:
        if clip.corpus:
            members.setdefault(("corpus", clip.corpus), []).append(clip)
        if clip.language:
            members.setdefault(("language", clip.language), []).append(clip)
        if band := dnsmos_band(clip.source_dnsmos):
            members.setdefault(("DNSMOS", f"{band}+"), []).append(clip)
    return members


def _judged_groups(groups: Sequence[tuple[Level, str]]) -> list[tuple[Level, str]]:
    """The groups that are tested: a lone language or corpus is the run once more.

    DNSMOS bands differ from the baseline by construction: they are shown, and judge nothing.
    """
    count = Counter(level for level, _ in groups)
    return [
        (level, name)
        for level, name in groups
        if level == "run" or (level in ("corpus", "language") and count[level] > 1)
    ]


def _group_verdicts(groups: Sequence[GroupVerdict]) -> list[Verdict]:
    return ["unusual content" for group in groups if group.unusual]


def _missing(clips: Sequence[ClipFinding]) -> Mapping[str, Mapping[str, int]]:
    counts: dict[str, Counter[str]] = {}
    for clip in clips:
        for what, reason in clip.reasons.items():
            if reason != Reason.NOT_ASKED:
                counts.setdefault(what, Counter())[reason] += 1
    return {what: dict(counter.most_common()) for what, counter in sorted(counts.items())}
