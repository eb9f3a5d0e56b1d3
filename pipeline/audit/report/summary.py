"""The verdict as `summary.json`: everything a script needs to decide, plain JSON values only."""

import json
from dataclasses import asdict
from typing import Any

from pipeline.audit.findings import AuditFindings
from pipeline.audit.judge.causes import flip_rates
from pipeline.audit.judge.codes import allowed_flip_rate
from pipeline.audit.judge.inference import Interval
from pipeline.audit.judge.judgement import (
    VERDICTS,
    Change,
    GroupVerdict,
    Judgement,
    PairedChange,
    ShardVerdict,
)
from pipeline.audit.report.notes import codec_sound, text_words
from pipeline.audit.report.wording import headline, next_steps

FORMAT = "xytok audit summary 1"


def summarize(findings: AuditFindings, judgement: Judgement) -> str:
    """The summary of an audit as JSON text."""
    words = headline(judgement)
    content = {
        "format": FORMAT,
        "output": findings.output,
        "verdict": judgement.verdict,
        "exit_code": judgement.exit_code,
        "answer": words.answer,
        "reason": words.reason,
        "codes": judgement.codes,
        "codes_state": judgement.codes_state,
        "paired": {name: _paired(change) for name, change in judgement.paired.items()},
        "content": "not asked" if judgement.codes_only else judgement.content,
        "sound": codec_sound(judgement, findings.sim_model),
        "doubts": list(judgement.doubts),
        "unseen_share": judgement.unseen_share,
        "shards_by_verdict": {verdict: judgement.count(verdict) for verdict in VERDICTS},
        "unfinished_shards": findings.unfinished_shards,
        "clips": len(findings.clips),
        "rows": sum(report.rows for report in findings.tokens),
        "unread_sources": list(judgement.unread),
        "sources_listed": sum(report.source.clips is not None for report in findings.tokens),
        "next_steps": [asdict(step) for step in next_steps(judgement)],
        "reference": judgement.reference,
        "sim_model": findings.sim_model,
        "asr_model": findings.asr_model,
        "text": text_words(findings),
        "codec": dict(findings.codec),
        "reencoded_with": dict(findings.reencoded_with),
        "same_platform": findings.same_platform,
        "expected_flip_rate": findings.expected_flip_rate,
        "allowed_flip_rate": allowed_flip_rate(findings, judgement.thresholds),
        "flip_rate": flip_rates(findings.clips),
        "seed": findings.seed,
        "seconds": findings.seconds,
        "groups": [_group(group) for group in judgement.groups],
        "shards": [_shard(shard) for shard in judgement.shards],
        "missing": {what: dict(reasons) for what, reasons in judgement.missing.items()},
        "notes": list(judgement.notes),
        "thresholds": asdict(judgement.thresholds),
    }
    return json.dumps(content, indent=1, default=str, allow_nan=False)


def _group(group: GroupVerdict) -> dict[str, Any]:
    return {
        "level": group.level,
        "name": group.name,
        "clips": group.num_clips,
        "shards": group.num_shards,
        "unusual": list(group.unusual),
        "metrics": {name: _change(change) for name, change in group.changes.items()},
    }


def _shard(shard: ShardVerdict) -> dict[str, Any]:
    return {
        "shard": shard.shard,
        "verdict": shard.verdict,
        "codes": shard.codes,
        "codes_state": shard.codes_state,
        "odd_clips": list(shard.odd_clips),
        "content": shard.content,
        "doubts": list(shard.doubts),
        "unseen_share": shard.unseen_share,
        "faults": [asdict(fault) for fault in shard.faults],
        "clips": shard.num_clips,
        "compared": shard.num_compared,
        "differing": shard.num_differing,
        "flip_rates": list(shard.flip_rates),
        "metrics": {name: _change(change) for name, change in shard.changes.items()},
        "paired": {name: _paired(change) for name, change in shard.paired.items()},
    }


def _change(change: Change) -> dict[str, Any]:
    compared: dict[str, Any] = {}
    if change.difference:
        compared = {
            "reference_mean": change.reference_mean,
            "difference": _interval(change.difference),
            "reference_shards": change.num_reference_shards,
            "smallest_found": change.smallest_found,
            "worse_by": change.worse_by,
            "p_value": change.p_value,
            "adjusted_p": change.adjusted_p,
            "unusual": change.unusual,
        }
    if change.unjudged:
        compared["unjudged"] = change.unjudged
    return {**_interval(change.mean), **compared}


def _paired(change: PairedChange) -> dict[str, Any]:
    return {
        **_interval(change.difference),
        "margin": change.margin,
        "state": change.state,
        "unmeasured": change.unmeasured,
        "p_value": change.p_value,
        "adjusted_p": change.adjusted_p,
    }


def _interval(interval: Interval) -> dict[str, Any]:
    return {
        "mean": interval.estimate,
        "low": interval.low if interval.is_known else None,
        "high": interval.high if interval.is_known else None,
        "clips": interval.num_values,
    }
