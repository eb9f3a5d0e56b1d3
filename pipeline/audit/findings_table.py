"""Clip findings as an Arrow table: the schema of `findings.parquet`, rows in, rows out."""

import dataclasses
import math
from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow as pa

from pipeline.audit.findings import CLIP_FACTS, METRIC_NAMES, ClipFinding, Drift, Scores

_CLIP = (*CLIP_FACTS, "sim_model", "heard_original", "heard_reconstruction")
_DRIFT = tuple(f.name for f in dataclasses.fields(Drift) if f.name != "paired")

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
