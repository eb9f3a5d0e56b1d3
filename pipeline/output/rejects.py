"""The reject file of a shard: one table row for every clip that did not become codes, and why.

The writing thread of a worker publishes it after the part. The reasons themselves are listed in
`pipeline/corpus/reject_reasons.py`.
"""

import io
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.corpus.reject_reasons import Reason, Stage
from pipeline.corpus.shard import Shard
from pipeline.errors import OutputError
from pipeline.output.identity import RunIdentity
from pipeline.output.manifest import ManifestName, WrittenFile
from pipeline.output.parquet_file import ParquetFile, arrow_table, footer
from pipeline.output.parquet_layout import REJECT_DICTIONARY_COLUMNS
from pipeline.output.retries import retry_numbers, retry_url
from pipeline.output.run_record import read_run_record
from pipeline.output.schema import REJECT_SCHEMA
from pipeline.storage.client import Storage
from pipeline.storage.location import join, redact


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


def earlier_retries(storage: Storage, output: str, number: int) -> list[tuple[str, str]]:
    """Where the retries before this one are, and the identities of their runs."""
    urls = [retry_url(output, n) for n in retry_numbers(storage, output) if n < number]
    return [(url, read_run_record(storage, url).identity8) for url in urls]


def rejects_left(
    storage: Storage,
    output: str,
    shard: Shard,
    reasons: Sequence[str],
    earlier: Sequence[tuple[str, str]],
) -> frozenset[str]:
    """The keys of a shard's rejects with these reasons, but those that have codes.

    A retry may have made them. The run itself has codes of the key where text alone was a reject.
    """
    rows: Any = _read(storage, join(output, shard.reject_path), ["key", "reason"])
    rows = rows.filter(pc.is_in(rows["reason"], pa.array(reasons)))
    wanted = set(rows["key"].to_pylist())
    if Reason.MISSING_AUDIO in rows["reason"].to_pylist():
        wanted -= _keys(storage, join(output, shard.part_path))
    for url, identity8 in earlier if wanted else ():
        # None where the retry did not read the shard, or read another one of its path.
        if storage.exists(join(url, ManifestName.of(shard, identity8).path)):
            wanted -= _keys(storage, join(url, shard.part_path))
    return frozenset(wanted)


def _keys(storage: Storage, part: str) -> set[str]:
    return set(_read(storage, part, ["key"])["key"].to_pylist())


def _read(storage: Storage, url: str, columns: list[str]) -> Any:
    content = storage.read_bytes(url)
    try:
        return pq.ParquetFile(io.BytesIO(content)).read(columns=columns, use_threads=False)
    except (pa.ArrowException, OSError) as error:
        raise OutputError(
            f"`{redact(url)}` cannot be read: {error}; expected the file that a run wrote; look at "
            "`xytok verify`"
        ) from error


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
