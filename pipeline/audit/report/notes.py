"""What a reader must know beside the verdict: sound, text, what was not seen, sources, cost."""

from collections.abc import Sequence

import numpy as np

from pipeline.audit.codes.token_report import TokenReport
from pipeline.audit.findings import LABELS, AuditFindings
from pipeline.audit.judge.baseline import Baseline
from pipeline.audit.judge.faults import flip_rates
from pipeline.audit.judge.judgement import Judgement
from pipeline.audit.judge.reference import FEW_SHARDS, WHOLE, spoken
from pipeline.audit.judge.thresholds import SILENT_SHARE
from pipeline.audit.metrics.heard_text import normal
from pipeline.audit.report.wording import shard_list
from pipeline.plural import plural

# The text of an original with more errors in its characters may be another's.
_OTHER_TEXT = 0.5
# Steps that cost less of the whole are not told.
_TOLD_COST = 0.01
_STEPS = {
    "asr": "recogniser",
    "dnsmos": "DNSMOS",
    "pesq": "PESQ",
    "sim": "SIM",
    "stoi": "STOI",
    "encode": "encoding",
    "decode": "decoding",
    "read": "reading",
}
# What is told of how a codec sounds, and the scale to read it by.
_SOUND = (
    ("stoi", "STOI", "1 is the original"),
    ("pesq_wb", "PESQ-WB", "1 is bad, 4.6 the original"),
    ("sim", "SIM", "1 is the same voice"),
)


def asides(findings: AuditFindings, judgement: Judgement) -> tuple[str, ...]:
    """The sentences below the verdict: codes, sound, text, and what the sample cannot show."""
    told = (
        _codes(judgement),
        codec_sound(judgement, findings.sim_model),
        text_words(findings),
        _unseen(judgement),
    )
    return tuple(text for text in told if text)


def notes(findings: AuditFindings, baseline: Baseline | None, allowed: float) -> tuple[str, ...]:
    """The notes of an audit; `allowed` is the flip rate that is no drift."""
    found = [*_baseline_notes(findings, baseline)]
    if not findings.same_platform and findings.reencoded_with:
        found.append(_platform_note(findings, allowed))
    if stratum := findings.sampling.get("stratify"):
        found.append(
            f"Clips were taken of every {stratum} in turn (`--stratify`), so that rare ones are "
            "heard; in every mean each clip has the weight that makes up for it."
        )
    if silent := len(findings.drawn) - len(spoken(findings.drawn)):
        found.append(
            f"Left out of what is judged by its sound: {plural(silent, 'sampled clip')} of "
            f"{len(findings.drawn):,}, with more than {SILENT_SHARE:.0%} silence."
        )
    found += _baseline_sampling(findings, baseline)
    found += _source_notes(findings.tokens)
    rejects = sum(report.rejects or 0 for report in findings.tokens)
    if rejects:
        seen = sum(report.members_seen or 0 for report in findings.tokens)
        found.append(
            f"{rejects:,} of {plural(seen, 'clip')} ({rejects / max(seen, 1):.1%}) were rejected "
            "when tokenized and are no rows; `xytok status` counts the reasons, `rejects/` has "
            "each clip."
        )
    if findings.unfinished_shards:
        found.append(f"{plural(findings.unfinished_shards, 'shard')} not finished, left out here.")
    return tuple(found)


def baseline_doubts(judgement: Judgement, baseline: Baseline) -> list[str]:
    """Why a baseline that was just made may be a poor one."""
    doubts = [note] if (note := _few_shards(baseline)) else []
    if judgement.exit_code:
        doubts.append(
            f"The baseline was made from an audit whose verdict is `{judgement.verdict}`; a "
            "baseline says what is good: leave those shards out with `--shard`."
        )
    return doubts


def _few_shards(baseline: Baseline) -> str | None:
    whole = baseline.groups.get(WHOLE, {}).values()
    known = max((each.tested.num_shards for each in whole), default=0)
    if known >= FEW_SHARDS:
        return None
    return (
        f"The baseline knows {plural(known, 'shard')}: how much good shards differ from each other "
        f"is hardly known from fewer than {FEW_SHARDS}, so only what is far worse is found."
    )


def _baseline_notes(findings: AuditFindings, baseline: Baseline | None) -> list[str]:
    shards = {clip.shard for clip in findings.clips}
    if baseline is None:
        if len(shards) >= FEW_SHARDS:
            return []
        return [
            f"Without a baseline shards are compared with each other, and {len(shards):,} is few "
            "for that: only what is far worse is found. Judge by ear, or give a `--baseline`."
        ]
    found = [note] if (note := _few_shards(baseline)) else []
    if findings.sim_model and baseline.sim_model not in ("", findings.sim_model):
        found.append(
            f"SIM was not compared: the baseline used `{baseline.sim_model}`, "
            f"this audit `{findings.sim_model}`."
        )
    if baseline.checkpoint != str(findings.codec.get("checkpoint_sha256", "")):
        found.append("The baseline was made with another checkpoint than this run.")
    return found


def _baseline_sampling(findings: AuditFindings, baseline: Baseline | None) -> list[str]:
    """How the baseline was measured otherwise than this audit."""
    if baseline is None:
        return []
    found = []
    theirs, ours = baseline.sampling.get("stratify"), findings.sampling.get("stratify")
    if baseline.sampling and theirs != ours:
        found.append(f"The baseline was sampled by `{theirs}`, this audit by `{ours}`.")
    names = sorted(set(baseline.versions) & set(findings.versions))
    other = [name for name in names if baseline.versions[name] != findings.versions[name]]
    if other:
        listed = ", ".join(
            f"{name} {baseline.versions[name]} there, {findings.versions[name]} here"
            for name in other
        )
        found.append(f"The baseline was measured with other versions: {listed}.")
    return found


def _platform_note(findings: AuditFindings, allowed: float) -> str:
    theirs, ours = (
        f"`{codec.get('precision')}` on `{codec.get('platform')}`"
        for codec in (findings.codec, findings.reencoded_with)
    )
    rate = findings.expected_flip_rate
    expected = (
        f"{np.mean(rate):.2%} of codes were expected to differ" if rate else "no rate is known"
    )
    found = flip_rates(findings.clips)
    measured = f", {np.mean(found):.2%} do" if found else ""
    return (
        f"Codes were made with {theirs} and encoded again with {ours}: {expected}, "
        f"up to {allowed:.2%} are allowed{measured}."
    )


def _source_notes(reports: Sequence[TokenReport]) -> list[str]:
    found = []
    unread = [report for report in reports if report.source.unread]
    if unread:
        found.append(_named(unread, "could not be looked at", unread[0].source.unread))
    touched = [report.shard for report in reports if report.source.is_touched]
    if touched:
        found.append(
            f"{plural(len(touched), 'tar')} with another etag or modification time than when "
            f"tokenized: {shard_list(touched)}. What was read of the audio was compared with the "
            "stored hashes."
        )
    unlisted = [report for report in reports if report.source.unlisted]
    if unlisted:
        found.append(_named(unlisted, "could not be listed", unlisted[0].source.unlisted))
    return found


def _named(reports: Sequence[TokenReport], what: str, why: str | None) -> str:
    shards = shard_list([report.shard for report in reports])
    return f"{plural(len(reports), 'tar')} {what}: {shards}. The first says: {why}"


def codec_sound(judgement: Judgement, sim_model: str) -> str:
    """How speech sounds through this codec, whatever it is compared with; empty without a figure.

    The verdict says whether data is as it should be; this says what the codec itself is worth.
    """
    told = []
    for name, label, scale in _SOUND:
        change = judgement.run_changes.get(name)
        if change is not None:
            of = f" of `{sim_model}`" if name == "sim" and sim_model else ""
            told.append(f"{label} {change.mean.estimate:.2f}{of} ({scale})")
    return f"Through this codec: {', '.join(told)}." if told else ""


def text_words(findings: AuditFindings) -> str:
    """What is lost of the text over all sampled clips; empty where nothing was heard."""
    heard = [clip for clip in findings.drawn if clip.scores.cer_increase is not None]
    if not heard:
        return ""
    characters = [clip.weight * len(normal(clip.text or "").replace(" ", "")) for clip in heard]
    rates = [
        float(np.average([getattr(clip.scores, name) for clip in heard], weights=characters))
        for name in ("cer_original", "cer_reconstruction")
    ]
    other = [clip for clip in heard if (clip.scores.cer_original or 0) > _OTHER_TEXT]
    told = (
        f"Of the text of {plural(len(heard), 'clip')}, `{findings.asr_model}` misses "
        f"{rates[0]:.1%} of the characters in the originals and {rates[1]:.1%} in the "
        f"reconstructions, {100 * (rates[1] - rates[0]):+.1f} points."
    )
    if other:
        told += (
            f" In {plural(len(other), 'original')} most of the text was not heard: another text, "
            "numbers written otherwise, or the recogniser's fault; the first is "
            f"`{other[0].key}` of {other[0].shard}."
        )
    return told


def cost_words(findings: AuditFindings) -> str:
    """What was measured for how long, dearest first; seconds of all processes added up."""
    spent: dict[str, float] = {}
    for clip in findings.clips:
        for step, seconds in clip.seconds.items():
            spent[step] = spent.get(step, 0.0) + seconds
    total = sum(spent.values())
    if not total:
        return ""
    told = ", ".join(
        f"{_STEPS.get(step, step)} {seconds:.3g} s ({seconds / total:.0%})"
        for step, seconds in sorted(spent.items(), key=lambda item: -item[1])
        if seconds >= _TOLD_COST * total
    )
    return f"Spent, all processes added up: {told}."


def _codes(judgement: Judgement) -> str:
    """Stored codes against fresh ones over the whole run, in one line; empty where none were."""
    if not any(shard.num_compared for shard in judgement.shards):
        return ""
    words = {
        "equal": "equal",
        "equivalent": "equivalent within the margin",
        "drifted": "drifted",
        "cannot judge": "not judged",
    }
    states = [shard.codes_state for shard in judgement.shards]
    counts = [
        f"{plural(states.count(state), 'shard')} {word}"
        for state, word in words.items()
        if state in states
    ]
    told = [
        f"{LABELS[name]} {change.difference.estimate:+.4f} (margin {change.margin:g})"
        for name, change in judgement.paired.items()
    ]
    over = f"; over the run {', '.join(told)}" if told else ""
    return f"Stored against fresh codes: {', '.join(counts)}{over}."


def _unseen(judgement: Judgement) -> str:
    """What a sample of this size could have missed."""
    shares = [shard.unseen_share for shard in judgement.shards if shard.num_compared]
    if not shares:
        return ""
    return (
        f"Not seen: with no bad clip in its sample, a shard may still have up to {max(shares):.1%} "
        f"of bad ones; faults spread over the whole run, up to {judgement.unseen_share:.2%}."
    )
