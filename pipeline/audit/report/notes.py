"""What a reader must know beside the verdict: what was not compared, sources, rejected clips."""

from collections.abc import Sequence

import numpy as np

from pipeline.audit.findings import AuditFindings, TokenReport
from pipeline.audit.judge.baseline import Baseline
from pipeline.audit.judge.causes import flip_rates
from pipeline.audit.judge.judgement import Judgement
from pipeline.audit.judge.reference import FEW_SHARDS, WHOLE
from pipeline.audit.report.wording import plural, shard_list


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
