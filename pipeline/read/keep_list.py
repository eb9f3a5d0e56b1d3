"""The keep list of an audit: a Parquet that says of each row of each shard whether to keep it.

A row that the list does not mention was not judged. Exports and the reader ask for one shard after
the other, so the footer is read once, and then the row groups that may have the shard. The list of
an audit has the SHA-256 of each part, and is refused for other codes than those that were heard.
"""

import threading
from collections.abc import Callable, Collection, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.errors import InputError, UsageError
from pipeline.plural import plural
from pipeline.read.part_reader import open_part, reading_part
from pipeline.storage.client import Storage
from pipeline.storage.location import redact

_SHARD = "shard"
_SHA256 = "part_sha256"
_EXPECTED = (
    "expected the `keep.parquet` of an audit of this output, as a list goes by the SHA-256 of its "
    "parts; pass that one, or audit the output again"
)


class KeepList:
    """Gives the rows of one shard at a time; an audit writes a row group for each."""

    def __init__(self, storage: Storage, url: str, columns: Sequence[str]) -> None:
        self._storage = storage
        self._url = url
        self._columns = [_SHARD, *columns]
        self._file = _opened(storage, url)
        self._is_bound = _SHA256 in self._file.schema_arrow.names
        missing = sorted(set(self._columns) - set(self._file.schema_arrow.names))
        if missing:
            raise UsageError(
                f"The keep list `{redact(url)}` has no column {', '.join(missing)}; expected a "
                f"Parquet file with {', '.join(self._columns)}, as `xytok audit` writes it; pass "
                "that file"
            )
        self._columns += [_SHA256] if self._is_bound else []
        self._lock = threading.Lock()  # a file has one position
        self._groups: dict[str, list[int]] = {}
        mixed = []
        for number in range(self._file.num_row_groups):
            name = self._only_shard(number)
            if name is None:
                mixed.append(number)
            else:
                self._groups.setdefault(name, []).append(number)
        # Row groups of several shards are read once and kept.
        self._mixed = self._read(mixed) if mixed else None
        # The names of the shards that were asked for.
        self.asked: set[str] = set()

    def of_shard(self, names: Sequence[str], part_sha256: Callable[[], str]) -> Any:
        """The rows of a shard that goes by any of these names, as a table of the columns.

        `part_sha256` gives the hash of its part, and is asked only where the list has hashes.
        """
        with self._lock:
            self.asked.update(names)
            tables = [self._read([n for name in names for n in self._groups.get(name, ())])]
        if self._mixed is not None:
            wanted = pc.is_in(self._mixed[_SHARD], pa.array(names))
            tables.append(self._mixed.filter(wanted))
        table = pa.concat_tables(tables)
        if self._is_bound and table.num_rows:
            self._check_bound(table, names[0], part_sha256())
        return table

    def _check_bound(self, table: Any, shard: str, part_sha256: str) -> None:
        listed = set(table[_SHA256].to_pylist())
        if listed != {part_sha256}:
            shown = ", ".join(sorted(f"`{each[:12]}…`" for each in listed))
            raise UsageError(
                f"The keep list `{redact(self._url)}` belongs to another run: it is of other codes "
                f"of `{shard}`, a part with the SHA-256 {shown}, and this one has "
                f"`{part_sha256[:12]}…`; {_EXPECTED}"
            )

    def refuse_strangers(self, shards: Collection[str]) -> None:
        """Raise where the list names none of these shards, those of a run."""
        listed = set(self._groups)
        if self._mixed is not None:
            listed.update(self._mixed[_SHARD].to_pylist())
        if listed and listed.isdisjoint(shards):
            raise UsageError(
                f"The keep list `{redact(self._url)}` belongs to another run: it names none of "
                f"this one's shards, but `{redact(min(listed))}` and "
                f"{plural(len(listed) - 1, 'other')}; {_EXPECTED}"
            )

    def _only_shard(self, number: int) -> str | None:
        """The one shard of a row group; None where it may have several."""
        group = self._file.metadata.row_group(number)
        columns = map(group.column, range(group.num_columns))
        found = next(each for each in columns if each.path_in_schema == _SHARD).statistics
        is_one = found is not None and found.has_min_max and found.min == found.max
        return str(found.min) if is_one else None

    def _read(self, groups: list[int]) -> Any:
        def read() -> Any:
            return self._file.read_row_groups(groups, columns=self._columns, use_threads=False)

        return reading_part(self._storage, self._url, read)


def _opened(storage: Storage, url: str) -> Any:
    try:
        return open_part(storage, url)
    except InputError as error:
        if not isinstance(error.__cause__, pa.ArrowException):
            raise
        raise UsageError(
            f"The keep list `{redact(url)}` is no Parquet file ({error.__cause__}); expected the "
            "`keep.parquet` that `xytok audit` writes; pass that file"
        ) from error
