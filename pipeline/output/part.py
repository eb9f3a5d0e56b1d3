"""The part of a shard: one table row for every clip that became codes, in source order.

The writing thread of a worker builds it. The columns are in `schema.py`, how the file is written
and published is in `parquet_file.py`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.corpus.metadata import Metadata
from pipeline.corpus.shard import Shard
from pipeline.output.identity import RunIdentity
from pipeline.output.manifest import WrittenFile
from pipeline.output.parquet_file import ParquetFile, arrow_table, footer
from pipeline.output.parquet_layout import DICTIONARY_COLUMNS
from pipeline.output.schema import SIDE, part_schema
from pipeline.storage.client import Storage
from pipeline.storage.location import redact
from xy_codec.codes_shape import CodesShape
from xy_codec.contract import Codes, Side

# Lists in Arrow count their values by 32 bits.
_MOST_CODES = 2**31 - 1
_METADATA_COLUMNS = (
    "text",
    "speaker",
    "language",
    "dnsmos",
    "phone_count",
    "json_duration",
    "extra",
)


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
    side: Side | None = None


def part_table(
    rows: Sequence[PartRow], shard: str, shape: CodesShape, *, has_offsets: bool
) -> pa.Table:
    """The Arrow table of a row group; `has_offsets` is false for shards that are gzipped."""
    rates = np.fromiter((row.sample_rate for row in rows), np.int32, len(rows))
    samples = np.fromiter((row.num_samples for row in rows), np.int64, len(rows))
    columns: dict[str, Any] = {
        "key": [row.key for row in rows],
        "codes": codes_array([row.codes for row in rows], shape),
        "num_frames": np.fromiter((row.codes.shape[1] for row in rows), np.int32, len(rows)),
        "num_samples": samples,
        "sample_rate": rates,
        "duration": samples / rates,
        "shard": [shard] * len(rows),
        "tar_offset": [row.tar_offset if has_offsets else None for row in rows],
        "tar_size": [row.tar_size for row in rows],
        "audio_xxh64": np.fromiter((row.audio_xxh64 for row in rows), np.uint64, len(rows)),
    } | {name: [getattr(row.metadata, name) for row in rows] for name in _METADATA_COLUMNS}
    if shape.side_floats:
        columns[SIDE] = [row.side for row in rows]
    return arrow_table(columns, part_schema(shape))


def codes_array(matrices: Sequence[Codes], shape: CodesShape) -> Any:
    """Codes `[K, T]` as nested Arrow lists, without a Python object per value."""
    kind: Any = pa.from_numpy_dtype(shape.dtype)
    if not matrices:
        return pa.array([], pa.list_(pa.list_(kind)))
    heights = np.fromiter((len(matrix) for matrix in matrices), np.int32, len(matrices))
    widths = np.fromiter((matrix.shape[1] for matrix in matrices), np.int32, len(matrices))
    values = np.concatenate([matrix.reshape(-1) for matrix in matrices])
    inner = _offsets(np.repeat(widths, heights))
    lists = pa.ListArray.from_arrays(inner, pa.array(values, kind))
    return pa.ListArray.from_arrays(_offsets(heights), lists)


def _offsets(lengths: Any) -> Any:
    offsets = np.zeros(len(lengths) + 1, np.int32)
    np.cumsum(lengths, out=offsets[1:])
    return pa.array(offsets, pa.int32())


class PartWriter:
    """Builds the part of one shard row group by row group; nothing is visible before `publish`."""

    def __init__(self, shard: Shard, identity: RunIdentity) -> None:
        self._shard = shard
        self._shape = CodesShape.of(identity.codec)
        schema = part_schema(self._shape)
        self._file = ParquetFile(schema, DICTIONARY_COLUMNS, footer(identity, shard))

    def add_row_group(self, rows: Sequence[PartRow]) -> None:
        """Append these rows as one row group, or as several where they have too many codes."""
        if len(rows) > 1 and sum(row.codes.size for row in rows) > _MOST_CODES:
            half = len(rows) // 2
            self.add_row_group(rows[:half])
            self.add_row_group(rows[half:])
            return
        shard = self._shard
        table = part_table(
            rows, redact(shard.url), self._shape, has_offsets=not shard.is_compressed
        )
        self._file.add_row_group(table)

    def publish(self, storage: Storage, output: str) -> WrittenFile:
        """Put the finished part into the output."""
        return self._file.publish(storage, output, self._shard.part_path)

    def discard(self) -> None:
        """Free memory and disk, whether the part was published or not."""
        self._file.close()
