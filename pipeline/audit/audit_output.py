"""What an audit leaves behind in a folder: findings, keep list, summary and page.

The schema of `findings.parquet` and what `summary.json` says are here, the schema of `keep.parquet`
is in `keep_list.py`.
"""

import io
import json
import math
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.audit.audit import AuditRequest, Measure, open_audit, run_audit
from pipeline.audit.findings import (
    CLIP_FACTS,
    METRIC_NAMES,
    AuditFindings,
    ClipFinding,
    Drift,
    Scores,
)
from pipeline.audit.judge.baseline import Baseline
from pipeline.audit.judge.codes import allowed_flip_rate
from pipeline.audit.judge.faults import flip_rates
from pipeline.audit.judge.inference import Interval
from pipeline.audit.judge.judgement import (
    VERDICTS,
    Change,
    GroupVerdict,
    Judgement,
    PairedChange,
    ShardVerdict,
)
from pipeline.audit.judge.thresholds import Thresholds
from pipeline.audit.judge.verdict import judge
from pipeline.audit.keep_list import DEFAULT_DROP, keep_list
from pipeline.audit.report.audit_page import render_report
from pipeline.audit.report.clip_cards import Playback
from pipeline.audit.report.notes import codec_sound, text_words
from pipeline.audit.report.wording import headline, next_steps
from pipeline.storage.client import Storage
from pipeline.storage.location import join

_CLIP = (*CLIP_FACTS, "sim_model", "heard_original", "heard_reconstruction")
_DRIFT = tuple(f.name for f in fields(Drift) if f.name != "paired")

_FIELDS: list[Any] = [
    pa.field("shard", pa.string(), nullable=False),
    pa.field("key", pa.string(), nullable=False),
    pa.field("row", pa.int64(), nullable=False),
    pa.field("corpus", pa.string()),
    pa.field("language", pa.string()),
    pa.field("speaker", pa.string()),
    pa.field("source_dnsmos", pa.float64()),
    pa.field("text", pa.string()),
    pa.field("duration", pa.float64(), nullable=False),
    pa.field("num_frames", pa.int64(), nullable=False),
    pa.field("tar_offset", pa.int64()),
    pa.field("tar_size", pa.int64()),
    pa.field("drawn", pa.bool_(), nullable=False),
    pa.field("weight", pa.float64(), nullable=False),
    pa.field("sim_model", pa.string(), nullable=False),
    pa.field("heard_original", pa.string()),
    pa.field("heard_reconstruction", pa.string()),
    *(pa.field(name, pa.float64()) for name in METRIC_NAMES),
    pa.field("stored_frames", pa.int64()),
    pa.field("fresh_frames", pa.int64()),
    pa.field("differing_codes", pa.list_(pa.int64())),
    pa.field("differing_frames", pa.int64()),
    pa.field("one_bit_flips", pa.int64()),
    pa.field("constant_codebooks", pa.list_(pa.int64())),
    pa.field("best_shift_frames", pa.int64()),
    pa.field("agreement_at_shift", pa.float64()),
    pa.field("side_error", pa.float64()),
    pa.field("same_audio", pa.bool_()),
    pa.field("explained_by", pa.string()),
    pa.field("explained_agreement", pa.float64()),
    *(pa.field(f"paired_{name}", pa.float64()) for name in METRIC_NAMES),
    pa.field("reasons", pa.map_(pa.string(), pa.string()), nullable=False),
    pa.field("seconds", pa.map_(pa.string(), pa.float64()), nullable=False),
]
SCHEMA = pa.schema(_FIELDS)
FORMAT = "xytok audit summary 1"


@dataclass(frozen=True, slots=True)
class Audit:
    """A finished audit: what was measured, the verdict, its JSON summary, and where the files are.

    The verdict of the whole run is `judgement.verdict`, and that of each shard in
    `judgement.shards`.
    """

    findings: AuditFindings
    judgement: Judgement
    summary: str
    folder: str


def audit_output(
    request: AuditRequest,
    *,
    baseline: Baseline | None = None,
    thresholds: Thresholds | None = None,
    codes_only: bool = False,
    drop: Sequence[str] = DEFAULT_DROP,
    measure: Measure | None = None,
    folder: str | None = None,
) -> Audit:
    """Measure the output of a run, judge it, and write the four files into `folder`."""
    run, codec = open_audit(request)
    findings = run_audit(request, run, codec, measure)
    judgement = judge(findings, baseline, thresholds, codes_only=codes_only)
    sounds = Playback(run, codec, request.storage, request.source_map)
    page = render_report(findings, judgement, baseline, sounds)
    summary = summarize(findings, judgement)
    keep = keep_list(findings, judgement, run.manifests, request.storage, drop, run.dropped)
    folder = write_audit(request.storage, folder, findings, summary, page, keep)
    return Audit(findings, judgement, summary, folder)


def write_audit(
    storage: Storage,
    folder: str | None,
    findings: AuditFindings,
    summary: str,
    page: str,
    keep: bytes,
) -> str:
    """Write the four files and return their folder; below the output without one."""
    folder = folder or join(
        findings.output, "audit", time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    )
    metadata = {
        "xytok.audit": json.dumps(
            {
                "output": findings.output,
                "seed": findings.seed,
                "sim_model": findings.sim_model,
                "codec": dict(findings.codec),
                "same_platform": findings.same_platform,
            },
            sort_keys=True,
        )
    }
    sink = io.BytesIO()
    pq.write_table(findings_table(findings.clips, metadata), sink, compression="zstd")
    storage.write_finished(join(folder, "findings.parquet"), sink.getvalue())
    storage.write_finished(join(folder, "keep.parquet"), keep)
    storage.write_finished(join(folder, "summary.json"), summary.encode())
    storage.write_finished(join(folder, "report.html"), page.encode())
    return folder


def findings_table(
    findings: Iterable[ClipFinding], metadata: Mapping[str, str] | None = None
) -> pa.Table:
    """Rows of `findings.parquet`, in the order given; `metadata` goes into the footer."""
    table = pa.Table.from_pylist([_row(finding) for finding in findings], schema=SCHEMA)
    return table.replace_schema_metadata(dict(metadata)) if metadata else table


def findings_from(table: pa.Table) -> list[ClipFinding]:
    """Clip findings out of a table of the same schema."""
    return [_finding(row) for row in table.to_pylist()]


def _row(finding: ClipFinding) -> dict[str, Any]:
    row = {name: getattr(finding, name) for name in _CLIP}
    row |= _numbers(finding.scores, "")
    if finding.drift is not None:
        row |= {name: getattr(finding.drift, name) for name in _DRIFT}
        row |= _numbers(finding.drift.paired, "paired_")
    row["reasons"] = sorted(finding.reasons.items())
    row["seconds"] = sorted(finding.seconds.items())
    return row


def _numbers(scores: Scores, prefix: str) -> dict[str, float | None]:
    return {prefix + name: _finite(getattr(scores, name)) for name in METRIC_NAMES}


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _finding(row: Mapping[str, Any]) -> ClipFinding:
    return ClipFinding(
        **{name: row[name] for name in _CLIP},
        scores=Scores(**{name: row[name] for name in METRIC_NAMES}),
        drift=_drift(row) if row["stored_frames"] is not None else None,
        reasons=dict(row["reasons"]),
        seconds=dict(row["seconds"]),
    )


def _drift(row: Mapping[str, Any]) -> Drift:
    values: dict[str, Any] = {name: row[name] for name in _DRIFT}
    for name in ("differing_codes", "constant_codebooks"):
        values[name] = tuple(values[name])
    paired = Scores(**{name: row[f"paired_{name}"] for name in METRIC_NAMES})
    return Drift(**values, paired=paired)


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
        "codes": _codes_answer(findings, judgement),
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


def _codes_answer(findings: AuditFindings, judgement: Judgement) -> str:
    """What was not encoded again is not called right; what its tokens showed is told."""
    is_open = not findings.reencoded and judgement.codes == "ok"
    return "not asked" if is_open else judgement.codes


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
