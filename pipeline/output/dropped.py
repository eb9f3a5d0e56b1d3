"""Clips that were taken out of a finished output: the lists `dropped/<number>.parquet`.

Parts stay as they are. `xytok drop` writes a list; readers, exports, cards and audits leave its
clips out. A list names the part and the key of a clip, not its row, so that a clip stays out when
its shard is done again.
"""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import OutputError
from pipeline.output.parquet_layout import ZSTD_LEVEL
from pipeline.storage.client import Storage
from pipeline.storage.location import join, redact

DROPPED = "dropped"
# Language and duration are there for the sums of a card.
_FIELDS: list[Any] = [
    pa.field("part", pa.string(), nullable=False),
    pa.field("key", pa.string(), nullable=False),
    pa.field("reason", pa.string(), nullable=False),
    pa.field("language", pa.string()),
    pa.field("duration", pa.float64()),
]
SCHEMA = pa.schema(_FIELDS)
Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class DroppedList:
    """One list, as one command wrote it."""

    number: int
    path: str
    rows: tuple[Row, ...]


@dataclass(frozen=True, slots=True)
class Dropped:
    """The clips that are out: by the path of their part below the output, their rows by key."""

    by_part: Mapping[str, Mapping[str, Row]] = field(default_factory=dict)

    @property
    def num_clips(self) -> int:
        """How many clips are out."""
        return sum(map(len, self.by_part.values()))

    def keys_of(self, part: str) -> frozenset[str]:
        """The keys of a part that are out."""
        return frozenset(self.by_part.get(part, ()))


def read_dropped(storage: Storage, output: str) -> Dropped:
    """All lists of an output together; of a clip that is in two, the first tells the reason."""
    by_part: dict[str, dict[str, Row]] = {}
    for each in read_lists(storage, output):
        for row in each.rows:
            by_part.setdefault(row["part"], {}).setdefault(row["key"], row)
    return Dropped(by_part)


def read_lists(storage: Storage, output: str) -> list[DroppedList]:
    """The lists of an output, in the order in which they were written."""
    return [
        DroppedList(number, _path(number), _rows(storage, join(output, _path(number))))
        for number in _numbers(storage, output)
    ]


def write_list(storage: Storage, output: str, rows: Sequence[Row]) -> str:
    """Add a list; the path of its file. Of two commands at once, both add theirs."""
    content = io.BytesIO()
    table: Any = pa.Table.from_pylist([dict(row) for row in rows], schema=SCHEMA)
    table = table.sort_by([("part", "ascending"), ("key", "ascending")])
    pq.write_table(table, content, compression="zstd", compression_level=ZSTD_LEVEL)
    number = max(_numbers(storage, output), default=0) + 1
    while not storage.create_exclusive(join(output, _path(number)), content.getvalue()):
        number += 1
    return _path(number)


def remove_list(storage: Storage, output: str, dropped: DroppedList) -> None:
    """Bring back the clips of a list, where no other one has them."""
    storage.delete(join(output, dropped.path))


def _numbers(storage: Storage, output: str) -> list[int]:
    files = storage.list_files(join(output, DROPPED))
    names = (file.url.rpartition("/")[2].removesuffix(".parquet") for file in files)
    return sorted(int(name) for name in names if name.isdecimal())


def _path(number: int) -> str:
    return f"{DROPPED}/{number:06d}.parquet"


def _rows(storage: Storage, url: str) -> tuple[Row, ...]:
    try:
        # `read_table` goes through datasets, whose threads now and then end a command with SIGABRT.
        file: Any = pq.ParquetFile(io.BytesIO(storage.read_bytes(url)))
        table = file.read(columns=SCHEMA.names, use_threads=False).cast(SCHEMA)
    except (pa.ArrowException, OSError, KeyError, ValueError) as error:
        # Without it clips would come back that somebody took out.
        raise OutputError(
            f"`{redact(url)}` cannot be read: {error}; expected a list that `xytok drop` wrote; "
            "delete the file and drop its clips again"
        ) from error
    return tuple(table.to_pylist())
