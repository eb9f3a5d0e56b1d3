"""From findings to verdicts: every shard, every group and the run."""

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from pipeline.audit.codes.token_report import TokenReport
from pipeline.audit.findings import (
    CODE_BITS,
    LABELS,
    ORDER_BITS,
    TOGETHER,
    AuditFindings,
    ClipFinding,
)
from pipeline.audit.judge.baseline import Baseline
from pipeline.audit.judge.codes import CodesJudgement, allowed_flip_rate, judge_codes
from pipeline.audit.judge.content import Changes, content_changes
from pipeline.audit.judge.faults import fault, flip_rates, is_silence
from pipeline.audit.judge.inference import (
    effective_number,
    share_interval,
    unseen_share,
)
from pipeline.audit.judge.judgement import (
    VERDICTS,
    Change,
    Fault,
    GroupVerdict,
    Judgement,
    Level,
    ShardVerdict,
    Verdict,
    worst,
)
from pipeline.audit.judge.reference import by_shard, spoken
from pipeline.audit.judge.thresholds import (
    MINIMUM_EFFECTS,
    SILENT_CLIPS,
    SILENT_SHARE,
    Thresholds,
)
from pipeline.audit.judge.tokens import token_faults, usual_top_shares
from pipeline.audit.metrics.reasons import Reason
from pipeline.audit.report.notes import notes
from pipeline.audit.sample.sampling import dnsmos_band
from pipeline.plural import plural

_MOVED = 0.01
# What is judged of codes without decoding them.
_OF_CODES = (CODE_BITS, ORDER_BITS)
# What is known of a clip whose decoded sound could not be measured at all: it says nothing of it.
_NOT_HEARD = (*_OF_CODES, "length_difference_seconds")
_HEARD = tuple(name for name in MINIMUM_EFFECTS if name not in _NOT_HEARD)
# With more decoded clips than this of which nothing is known, the others do not speak for all.
_MOST_UNHEARD = 0.2
_NOISE_SIGNS = ("dnsmos_original", "dnsmos_p808_original")


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
    changes = content_changes(findings, keyed, judged, baseline, thresholds)
    usual = usual_top_shares(findings.tokens)
    rows = {report.shard: report.kept_rows for report in findings.tokens}
    codes, run_codes = judge_codes(findings, rows, thresholds)
    shards = []
    for shard in sorted({*clips, *tokens}):
        sampled, report = clips.get(shard, []), tokens.get(shard)
        answer = codes.get(shard, CodesJudgement("cannot judge"))
        found = (token_faults(report, usual) if report else ()) + answer.faults
        # Two checks may come upon the same fault; the first has the better evidence.
        found = tuple({item.name: item for item in reversed(found)}.values())[::-1]
        found = _heard(found, sampled, report)
        own = changes.shards.get(shard, {})
        drawn = [clip for clip in sampled if clip.drawn]
        content = _content_faults(drawn, {} if codes_only else own)
        unclear = () if codes_only else _content_doubts(drawn, content, own)
        shards.append(_shard_verdict(shard, sampled, answer, found, content, unclear, own))
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
    run_doubts = (*_run_doubts(findings, shards, codes_only), *run_codes.doubts)
    verdicts = [shard.verdict for shard in shards] + ([] if codes_only else _group_verdicts(groups))
    if run_doubts:
        verdicts.append("cannot judge")
    if run_codes.state == "drifted":
        verdicts.append("drift")
    return Judgement(
        verdict=worst(verdicts),
        shards=tuple(shards),
        groups=groups,
        thresholds=thresholds,
        reference=baseline.label if baseline else "the other shards of this run",
        missing=_missing(findings.clips),
        notes=notes(findings, baseline, allowed_flip_rate(findings, thresholds)),
        unread=tuple(report.shard for report in findings.tokens if report.source.unread),
        doubts=run_doubts,
        codes_only=codes_only,
        unseen_share=_unseen(findings.clips),
        codes_state=run_codes.state,
        paired=run_codes.paired,
    )


def _content_doubts(
    clips: Sequence[ClipFinding], content: Sequence[Fault], changes: Changes
) -> tuple[str, ...]:
    """Why the sound of a shard cannot be judged; one metric that was tested is enough."""
    if content:
        return ()
    if unheard := _unheard(clips):
        return (unheard,)
    # All metrics together are tested where each is.
    heard = [each for name, each in changes.items() if name not in (TOGETHER, *_NOT_HEARD)]
    if any(change.p_value is not None and not change.unjudged for change in heard):
        return ()
    untested = Counter(change.unjudged for change in heard if change.unjudged)
    if untested:
        return (f"sound: {untested.most_common(1)[0][0]}",)
    return (f"sound: no metric that judges was measured on {plural(len(clips), 'sampled clip')}",)


def _unheard(clips: Sequence[ClipFinding]) -> str | None:
    """That too many clips were decoded and have no figure that judges, such as sound of NaN."""
    decoded = [each for each in spoken(clips) if not {"original", "decode"} & set(each.reasons)]
    lost = [clip for clip in decoded if all(getattr(clip.scores, name) is None for name in _HEARD)]
    if len(lost) <= _MOST_UNHEARD * len(decoded):
        return None
    why = Counter(
        reason
        for clip in lost
        for name, reason in clip.reasons.items()
        if name in _HEARD and reason != Reason.NOT_ASKED
    )
    mostly = f", mostly `{why.most_common(1)[0][0]}`" if why else ""
    return (
        f"sound: no metric that judges was measured on {len(lost)} of "
        f"{plural(len(decoded), 'decoded clip')}{mostly}"
    )


def _run_doubts(
    findings: AuditFindings, shards: Sequence[ShardVerdict], codes_only: bool
) -> tuple[str, ...]:
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
        names = ", ".join(LABELS.get(name, name) for name in absent)
        doubts.append(
            f"{names} cannot be measured: the package is not installed. Install `xytok[audit]`, or "
            "leave it out by `--metrics`"
        )
    if findings.tokens and not any(shard.num_clips for shard in shards):
        doubts.append("Not one clip was sampled: no part has a row")
    if codes_only and not findings.reencoded:
        doubts.append(
            "Neither the codes nor the sound was asked for: only tokens were checked. Leave out "
            "`--codes-only` or `--no-reencode`"
        )
    return tuple(doubts)


def _heard(
    found: tuple[Fault, ...],
    clips: Sequence[ClipFinding],
    report: TokenReport | None,
) -> tuple[Fault, ...]:
    """Repeated frames are no damage where the audio was encoded again and repeats them too."""
    if not report or not is_silence(clips, report.flagged.get("stuck", ())):
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
    of_codes = [change for change in unusual if change.metric in _OF_CODES]
    unusual = [change for change in unusual if change.metric not in _OF_CODES]
    faults = [fault("unlike codes", _bits_words(of_codes))] if of_codes else []
    if not unusual:
        return tuple(faults)
    together = changes.get(TOGETHER)
    if together is not None and together.unusual:
        # What moved is told too, though each alone may be within chance.
        moved = [change for change in changes.values() if _has_moved(change)]
        unusual = [*unusual, *(change for change in moved if change not in unusual)]
    strongest = sorted(unusual, key=lambda change: (change.metric != TOGETHER, change.p_value or 0))
    words = [
        f"{LABELS[change.metric]} {change.difference.estimate:+.3g}"
        + (" SD of good shards" if change.metric == TOGETHER else "")
        for change in strongest[:4]
        if change.difference
    ]
    noisy = any(change.metric in _NOISE_SIGNS for change in unusual)
    name = "noise" if noisy else "other content"
    other = fault(name, "mean against the reference: " + ", ".join(words), len(clips))
    return (other, *faults)


def _bits_words(changes: Sequence[Change]) -> str:
    told = ", ".join(
        f"{LABELS[change.metric]} {change.mean.estimate:.2f} ({change.difference.estimate:+.2f})"
        for change in changes
        if change.difference
    )
    return f"{told}, against the other shards, under a model of their codes"


def _has_moved(change: Change) -> bool:
    """Whether a metric is worse by what would be beyond chance, were it the only one."""
    worse = (change.worse_by or 0.0) > 0 and change.metric not in _OF_CODES
    return worse and change.p_value is not None and change.p_value <= _MOVED


def _silence(clips: Sequence[ClipFinding]) -> Fault | None:
    shares = [clip.scores.silent_original for clip in clips]
    known = [share for share in shares if share is not None]
    silent = sum(share > SILENT_SHARE for share in known)
    # One silent clip in ten is ordinary; the lower bound keeps small samples from crying wolf.
    if not silent or share_interval(silent, len(known)).low <= SILENT_CLIPS:
        return None
    return fault("silence", f"{silent} of {plural(len(known), 'sampled clip')} silent", silent)


def _shard_verdict(
    shard: str,
    clips: Sequence[ClipFinding],
    answer: CodesJudgement,
    found: tuple[Fault, ...],
    content_faults: tuple[Fault, ...],
    content_doubts: tuple[str, ...],
    changes: Changes,
) -> ShardVerdict:
    drifts = [clip.drift for clip in clips if clip.drift is not None]
    unclear: dict[bool, list[Verdict]] = {True: ["cannot judge"], False: []}
    codes = worst([item.verdict for item in found] + unclear[bool(answer.doubts)])
    content = worst([item.verdict for item in content_faults] + unclear[bool(content_doubts)])
    faults = (*found, *content_faults)
    return ShardVerdict(
        shard=shard,
        verdict=worst([codes, content]),
        codes=codes,
        codes_state=answer.state,
        content=content,
        faults=tuple(sorted(faults, key=lambda item: -VERDICTS.index(item.verdict))),
        doubts=(*answer.doubts, *content_doubts),
        odd_clips=answer.odd_clips,
        unseen_share=_unseen(clips),
        num_clips=len(clips),
        num_compared=len(drifts),
        num_differing=sum(not drift.equal for drift in drifts),
        flip_rates=flip_rates(clips),
        changes=changes,
        paired=answer.paired,
    )


def _unseen(clips: Sequence[ClipFinding]) -> float:
    """What the sample cannot have shown; clips that chance did not draw stand for no others."""
    seen = [clip.weight for clip in clips if clip.drawn and clip.drift is not None]
    return unseen_share(effective_number(np.array(seen)) if seen else 0)


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
