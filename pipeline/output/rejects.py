"""The reject file of a shard: clips that did not become codes, each with its reason."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from pipeline.corpus.reject_reasons import Reason, Stage
from pipeline.corpus.shard import Shard
from pipeline.output.identity import RunIdentity
from pipeline.output.manifest import WrittenFile
from pipeline.output.part import arrow_table, footer, parquet_writer, publish_file
from pipeline.output.spill import Spill
from pipeline.storage.client import Storage
from pipeline.storage.location import redact

_REJECT_FIELDS: list[Any] = [
    pa.field("key", pa.string(), nullable=False),
    pa.field("reason", pa.string(), nullable=False),
    pa.field("stage", pa.string(), nullable=False),
    pa.field("detail", pa.string(), nullable=False),
    pa.field("shard", pa.string(), nullable=False),
    pa.field("tar_offset", pa.int64()),
    pa.field("tar_size", pa.int64()),
]
REJECT_SCHEMA = pa.schema(_REJECT_FIELDS)


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
    return arrow_table(columns, REJECT_SCHEMA)


def publish_rejects(
    rows: Sequence[RejectRow], shard: Shard, identity: RunIdentity, storage: Storage, output: str
) -> WrittenFile:
    """Write the reject file of a shard; an empty one says that nothing was rejected."""
    table = reject_table(rows, redact(shard.url), has_offsets=not shard.is_compressed)
    with Spill() as spill:
        writer = parquet_writer(
            spill, REJECT_SCHEMA, footer(identity, shard), ("reason", "stage", "shard")
        )
        writer.write_table(table)
        writer.close()
        return publish_file(spill, storage, output, shard.reject_path, len(rows))
