"""The finished parts of a run by their shards' paths, then its retries', a row group at a time.

The folder that `xytok merge` wrote is taken as well: its parts are those of `export.json`.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipeline.errors import InputError, NotFoundError
from pipeline.export.record import EXPORT_RECORD, parse_record
from pipeline.output.dropped import Dropped, read_dropped
from pipeline.output.index import read_shards
from pipeline.output.retries import finished_in, place_order
from pipeline.output.run_record import RunRecord, read_run_record
from pipeline.read.part_reader import open_part, reading_part
from pipeline.storage.client import Storage
from pipeline.storage.location import join, normalise, redact

MERGED_FORMAT = "parts"
_COLUMNS = ("shard", "url", "part_path", "part_rows", "part_sha256")


@dataclass(frozen=True, slots=True)
class SourcePart:
    """The part of a finished shard; `first_row` counts the rows of all parts before it."""

    shard: str
    shard_url: str
    path: str
    rows: int
    sha256: str
    first_row: int


@dataclass(frozen=True, slots=True)
class Group:
    """A row group; `first_row` counts within its part."""

    part: int
    index: int
    first_row: int
    rows: int


@dataclass(frozen=True, slots=True)
class ExportedRun:
    """An output as it was when the export began; shards that finish later are not part of it.

    A part of a merged one has rows of many shards.
    """

    output: str
    record: RunRecord
    parts: tuple[SourcePart, ...]
    dropped: Dropped = field(default_factory=Dropped)
    is_merged: bool = False

    @property
    def parts_sha256(self) -> str:
        """One hash of which parts there are, of their bytes, and of what was taken out of them."""
        found = hashlib.sha256()
        for part in self.parts:
            found.update(f"{part.sha256} {part.path}\n".encode())
            for key in sorted(self.dropped.keys_of(part.path)):
                found.update(f"{key}\n".encode())
        return found.hexdigest()


def open_exported_run(storage: Storage, output: str) -> ExportedRun:
    """The run in an output folder, with its finished parts, or what was merged of one."""
    output = normalise(output)
    try:
        record = read_run_record(storage, output)
    except NotFoundError:
        merged = _merged(storage, output)
        if merged is None:
            raise
        return merged
    shards: dict[tuple[str, str], dict[str, Any]] = {}
    for place, names in finished_in(storage, output, record.identity8):
        for table in read_shards(storage, place.url, names, _COLUMNS):
            shards |= {(place.prefix, row["shard"]): row for row in table.to_pylist()}
    if not shards:
        raise InputError(
            f"`{redact(output)}` has no finished shard to export; expected at least one; wait for "
            "one, or look at `xytok status`"
        )
    parts, first_row = [], 0
    for prefix, shard in sorted(shards, key=place_order):
        row = shards[prefix, shard]
        facts = (prefix + row["part_path"], row["part_rows"], row["part_sha256"])
        # No keep list of the run's own shards speaks of a retry's.
        url = "" if prefix else row["url"]
        parts.append(SourcePart(prefix + shard, url, *facts, first_row))
        first_row += row["part_rows"]
    return ExportedRun(output, record, tuple(parts), read_dropped(storage, output))


def _merged(storage: Storage, output: str) -> ExportedRun | None:
    """What `xytok merge` wrote; None where it did not."""
    url = join(output, EXPORT_RECORD)
    try:
        made = parse_record(url, storage.read_bytes(url))
    except NotFoundError:
        return None
    if made.format != MERGED_FORMAT:
        return None
    parts, first_row = [], 0
    for file in made.files:
        stem = file.path.removesuffix(".parquet")
        parts.append(SourcePart(stem, "", file.path, file.rows, file.sha256, first_row))
        first_row += file.rows
    record = RunRecord(made.identity, str(made.request["run"]), made.provenance, {})
    return ExportedRun(output, record, tuple(parts), is_merged=True)


class PartReader:
    """Reads row groups; the part that was read last stays open."""

    def __init__(self, storage: Storage, run: ExportedRun) -> None:
        self._storage = storage
        self._run = run
        self._number = -1
        self._file: Any = None

    def groups(self) -> Iterator[Group]:
        """The row groups of all parts, in order."""
        for number in range(len(self._run.parts)):
            file, first_row = self._open(number), 0
            for index in range(file.num_row_groups):
                rows = file.metadata.row_group(index).num_rows
                yield Group(number, index, first_row, rows)
                first_row += rows

    def columns(self) -> Any:
        """The Arrow schema of the parts."""
        return self._open(0).schema_arrow

    def read(self, group: Group, columns: Sequence[str]) -> Any:
        """These columns of a row group."""
        file, names = self._open(group.part), list(columns)

        def read_group() -> Any:
            return file.read_row_group(group.index, columns=names, use_threads=False)

        return reading_part(self._storage, self._url(group.part), read_group)

    def _url(self, number: int) -> str:
        return join(self._run.output, self._run.parts[number].path)

    def _open(self, number: int) -> Any:
        if number != self._number:
            self._file, self._number = open_part(self._storage, self._url(number)), number
        return self._file
