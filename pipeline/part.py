"""Parts and reject files: Parquet made of row groups, the same bytes for the same rows."""

import json
from collections.abc import Mapping, Sequence
from importlib import metadata
from typing import Any, cast

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.location import join, redact
from pipeline.manifest import WrittenFile
from pipeline.rows import PartRow, RejectRow, part_table, reject_table
from pipeline.run_record import RunIdentity
from pipeline.schema import (
    DICTIONARY_COLUMNS,
    IDENTITY_KEY,
    PART_SCHEMA,
    PROVENANCE_KEY,
    REJECT_SCHEMA,
    SCHEMA_VERSION,
)
from pipeline.shard import Shard
from pipeline.spill import Spill
from pipeline.storage import Storage

_ZSTD_LEVEL = 3


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
        self._writer = _parquet_writer(self._spill, PART_SCHEMA, self._footer, DICTIONARY_COLUMNS)
        self.rows = 0

    def add_row_group(self, rows: Sequence[PartRow]) -> None:
        """Append one row group."""
        table = part_table(rows, redact(self._shard.url), has_offsets=not self._shard.is_compressed)
        self._writer.write_table(table, row_group_size=len(rows))
        self.rows += len(rows)

    def publish(self, storage: Storage, output: str) -> WrittenFile:
        """Put the finished part under its final name."""
        self._writer.close()
        return _publish(self._spill, storage, output, self._shard.part_path, self.rows)

    def discard(self) -> None:
        """Give back memory and disk, published or not."""
        # Else the writer would write its footer into a closed file when it is collected.
        if self._writer.is_open:
            self._writer.close()
        self._spill.discard()


def publish_rejects(
    rows: Sequence[RejectRow], shard: Shard, identity: RunIdentity, storage: Storage, output: str
) -> WrittenFile:
    """Write the reject file of a shard; an empty one says that nothing was rejected."""
    table = reject_table(rows, redact(shard.url), has_offsets=not shard.is_compressed)
    with Spill() as spill:
        writer = _parquet_writer(
            spill, REJECT_SCHEMA, footer(identity, shard), ("reason", "stage", "shard")
        )
        writer.write_table(table)
        writer.close()
        return _publish(spill, storage, output, shard.reject_path, len(rows))


def _parquet_writer(
    spill: Spill, schema: Any, notes: Mapping[bytes, bytes], dictionary: Sequence[str]
) -> pq.ParquetWriter:
    return pq.ParquetWriter(
        pa.PythonFile(spill, mode="w"),
        schema.with_metadata(dict(notes)),
        compression="zstd",
        compression_level=_ZSTD_LEVEL,
        use_dictionary=cast(Any, list(dictionary)),
        write_page_index=True,
        version="2.6",
    )


def _publish(spill: Spill, storage: Storage, output: str, path: str, rows: int) -> WrittenFile:
    storage.write_finished(join(output, path), spill.content())
    return WrittenFile(path, spill.size_bytes, spill.sha256, rows)
