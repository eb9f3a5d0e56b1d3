"""Rows of parts and rejects between the threads of a worker, and their Arrow tables."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.metadata import Metadata
from pipeline.schema import CODES_TYPE, PART_SCHEMA, REJECT_SCHEMA, Reason, Stage
from xy_codec.contract import Codes


@dataclass(frozen=True, slots=True)
class PartRow:
    """One clip that became codes."""

    key: str
    codes: Codes
    num_samples: int
    sample_rate: int
    metadata: Metadata
    tar_offset: int
    tar_size: int
    audio_xxh64: int


@dataclass(frozen=True, slots=True)
class RejectRow:
    """One clip that did not, and why; `order` is its place in the tar."""

    order: tuple[int, int]
    key: str
    reason: Reason
    stage: Stage
    detail: str
    tar_offset: int | None
    tar_size: int | None


def part_table(rows: Sequence[PartRow], shard: str, *, has_offsets: bool) -> pa.Table:
    """The Arrow table of a row group."""
    metadata = [row.metadata for row in rows]
    rates = np.fromiter((row.sample_rate for row in rows), np.int32, len(rows))
    samples = np.fromiter((row.num_samples for row in rows), np.int64, len(rows))
    offsets = [row.tar_offset for row in rows] if has_offsets else [None] * len(rows)
    columns: dict[str, Any] = {
        "key": [row.key for row in rows],
        "codes": codes_array([row.codes for row in rows]),
        "num_frames": np.fromiter((row.codes.shape[1] for row in rows), np.int32, len(rows)),
        "num_samples": samples,
        "sample_rate": rates,
        "duration": samples / rates,
        "shard": [shard] * len(rows),
        "tar_offset": offsets,
        "tar_size": [row.tar_size for row in rows],
        "audio_xxh64": np.fromiter((row.audio_xxh64 for row in rows), np.uint64, len(rows)),
    } | {
        name: [getattr(fields, name) for fields in metadata]
        for name in ("text", "speaker", "language", "dnsmos", "phone_count")
    }
    columns["json_duration"] = [fields.json_duration for fields in metadata]
    columns["extra"] = [fields.extra for fields in metadata]
    return _table(columns, PART_SCHEMA)


def reject_table(rows: Sequence[RejectRow], shard: str, *, has_offsets: bool) -> pa.Table:
    """The Arrow table of all rejects of a shard, in the order of the tar."""
    ordered = sorted(rows, key=lambda row: row.order)
    columns: dict[str, Any] = {
        "key": [row.key for row in ordered],
        "reason": [str(row.reason) for row in ordered],
        "stage": [str(row.stage) for row in ordered],
        "detail": [row.detail for row in ordered],
        "shard": [shard] * len(ordered),
        "tar_offset": [row.tar_offset if has_offsets else None for row in ordered],
        "tar_size": [row.tar_size for row in ordered],
    }
    return _table(columns, REJECT_SCHEMA)


def codes_array(matrices: Sequence[Codes]) -> Any:
    """Codes `[K, T]` as nested Arrow lists, without a Python object per value."""
    if not matrices:
        return pa.array([], CODES_TYPE)
    heights = np.fromiter((len(matrix) for matrix in matrices), np.int32, len(matrices))
    widths = np.fromiter((matrix.shape[1] for matrix in matrices), np.int32, len(matrices))
    values = np.concatenate([matrix.reshape(-1) for matrix in matrices])
    inner = _offsets(np.repeat(widths, heights))
    lists = pa.ListArray.from_arrays(inner, pa.array(values, pa.int16()))
    return pa.ListArray.from_arrays(_offsets(heights), lists)


def _offsets(lengths: Any) -> Any:
    offsets = np.zeros(len(lengths) + 1, np.int32)
    np.cumsum(lengths, out=offsets[1:])
    return pa.array(offsets, pa.int32())


def _table(columns: Mapping[str, Any], schema: Any) -> pa.Table:
    arrays = [
        value if isinstance(value, pa.Array) else pa.array(value, field.type)
        for field in schema
        for value in (columns[field.name],)
    ]
    return pa.Table.from_arrays(arrays, schema=schema)
