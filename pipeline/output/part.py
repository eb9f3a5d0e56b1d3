"""Parts and reject files: Parquet made of row groups, the same bytes for the same rows."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.corpus.metadata import Metadata
from pipeline.corpus.shard import Shard
from pipeline.output.identity import RunIdentity
from pipeline.output.manifest import WrittenFile
from pipeline.output.schema import (
    CODES_TYPE,
    DICTIONARY_COLUMNS,
    IDENTITY_KEY,
    PART_SCHEMA,
    PROVENANCE_KEY,
    SCHEMA_VERSION,
)
from pipeline.output.spill import Spill
from pipeline.storage.client import Storage
from pipeline.storage.location import join, redact
from xy_codec.contract import Codes

_ZSTD_LEVEL = 3


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
    return arrow_table(columns, PART_SCHEMA)


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


def footer(identity: RunIdentity, shard: Shard) -> dict[bytes, bytes]:
    """How a part was made; no host and no time, so that equal runs give equal bytes."""
    provenance = {
        "xytok": metadata.version("xytok"),
        "schema_version": SCHEMA_VERSION,
        "shard": shard.path,
        "source_size_bytes": shard.size_bytes,
        "source_etag": shard.etag,
    }
    return {
        IDENTITY_KEY: identity.to_json().encode(),
        PROVENANCE_KEY: json.dumps(provenance, sort_keys=True).encode(),
    }


class PartWriter:
    """Builds the part of one shard row group by row group; nothing is visible before `publish`."""

    def __init__(self, shard: Shard, identity: RunIdentity) -> None:
        self._shard = shard
        self._spill = Spill()
        self._footer = footer(identity, shard)
        self._writer = parquet_writer(self._spill, PART_SCHEMA, self._footer, DICTIONARY_COLUMNS)
        self.rows = 0

    def add_row_group(self, rows: Sequence[PartRow]) -> None:
        """Append one row group."""
        table = part_table(rows, redact(self._shard.url), has_offsets=not self._shard.is_compressed)
        self._writer.write_table(table, row_group_size=len(rows))
        self.rows += len(rows)

    def publish(self, storage: Storage, output: str) -> WrittenFile:
        """Put the finished part under its final name."""
        self._writer.close()
        return publish_file(self._spill, storage, output, self._shard.part_path, self.rows)

    def discard(self) -> None:
        """Give back memory and disk, published or not."""
        # Else the writer would write its footer into a closed file when it is collected.
        if self._writer.is_open:
            self._writer.close()
        self._spill.discard()


def parquet_writer(
    spill: Spill, schema: Any, notes: Mapping[bytes, bytes], dictionary: Sequence[str]
) -> pq.ParquetWriter:
    """A writer with the settings that all files of an output share."""
    return pq.ParquetWriter(
        pa.PythonFile(spill, mode="w"),
        schema.with_metadata(dict(notes)),
        compression="zstd",
        compression_level=_ZSTD_LEVEL,
        use_dictionary=cast(Any, list(dictionary)),
        write_page_index=True,
        version="2.6",
    )


def publish_file(spill: Spill, storage: Storage, output: str, path: str, rows: int) -> WrittenFile:
    """Put a finished file under its final name, and say what proves that it is whole."""
    storage.write_finished(join(output, path), spill.content())
    return WrittenFile(path, spill.size_bytes, spill.sha256, rows)


def arrow_table(columns: Mapping[str, Any], schema: Any) -> pa.Table:
    """The table of these columns, each as the schema types it."""
    arrays = [
        value if isinstance(value, pa.Array) else pa.array(value, field.type)
        for field in schema
        for value in (columns[field.name],)
    ]
    return pa.Table.from_arrays(arrays, schema=schema)
