"""The reject file of a shard: one table row for every clip that did not become codes, and why.

The writing thread of a worker publishes it after the part. The reasons themselves are listed in
`pipeline/corpus/reject_reasons.py`.
"""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from pipeline.corpus.reject_reasons import Reason, Stage
from pipeline.corpus.shard import Shard
from pipeline.output.identity import RunIdentity
from pipeline.output.manifest import WrittenFile
from pipeline.output.parquet_file import ParquetFile, arrow_table, footer
from pipeline.output.parquet_layout import REJECT_DICTIONARY_COLUMNS
from pipeline.output.schema import REJECT_SCHEMA
from pipeline.storage.client import Storage
from pipeline.storage.location import redact


@dataclass(frozen=True, slots=True)
class RejectRow:
    """One clip that did not become codes; rejects are sorted by `order`, their place in the tar."""

    order: tuple[int, int]
    key: str
    reason: Reason
    stage: Stage
    detail: str
    tar_offset: int | None
    tar_size: int | None


def publish_rejects(
    rows: Sequence[RejectRow], shard: Shard, identity: RunIdentity, storage: Storage, output: str
) -> WrittenFile:
    """Write the reject file of a shard; a shard without rejects gets a file without rows."""
    ordered = sorted(rows, key=lambda row: row.order)
    columns: dict[str, Any] = {
        "key": [row.key for row in ordered],
        "reason": [str(row.reason) for row in ordered],
        "stage": [str(row.stage) for row in ordered],
        "detail": [row.detail for row in ordered],
        "shard": [redact(shard.url)] * len(ordered),
        "tar_offset": [None if shard.is_compressed else row.tar_offset for row in ordered],
        "tar_size": [row.tar_size for row in ordered],
    }
    file = ParquetFile(REJECT_SCHEMA, REJECT_DICTIONARY_COLUMNS, footer(identity, shard))
    with closing(file):
        file.add_row_group(arrow_table(columns, REJECT_SCHEMA))
        return file.publish(storage, output, shard.reject_path)
