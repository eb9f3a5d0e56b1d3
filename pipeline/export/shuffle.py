"""Another order of all rows in bounded memory: they go to files on this machine's disk by a number.

For a shuffle the number is a bijective hash of the row's place and the seed; the new order is that
of the numbers. A bucket holds the rows of a range of them and is sorted in memory, so the order
depends neither on the number of buckets nor on how rows were read.
"""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.export.samples import ROW
from pipeline.output.parquet_file import on_this_disk

# A bucket is in memory about three times while it is sorted.
_BUCKET_BYTES = 64 << 20
_MOST_BUCKETS = 256  # as many files are open at a time, for each split
_BUFFER_BYTES = 64 << 20
_ORDER = "new_place"
_SPOOL = ("cannot hold the rows of an export in another order", "all codes that are exported")


def shuffled_places(rows: NDArray[np.int64], seed: int) -> NDArray[np.uint64]:
    """The place of each row in the shuffled order: splitmix64, whose values never collide."""
    with np.errstate(over="ignore"):
        mixed = rows.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15) * np.uint64(2 * seed + 1)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return mixed ^ (mixed >> np.uint64(31))


class Spool:
    """Tables of chosen rows on this machine's disk; used within a `with` block.

    `places_of` gives for the numbers of rows their places, spread over all of 64 bits.
    """

    def __init__(
        self, places_of: Callable[[NDArray[np.int64]], NDArray[np.uint64]], size_bytes: int
    ) -> None:
        self._places_of = places_of
        wanted = max(1, min(_MOST_BUCKETS, -(-size_bytes // _BUCKET_BYTES)))
        self._bits = int(wanted - 1).bit_length()
        self._stack = ExitStack()
        self._writers: dict[tuple[int, int], tuple[Any, Any]] = {}
        self._waiting: dict[int, list[pa.Table]] = {}
        self._waiting_bytes = 0

    def __enter__(self) -> "Spool":
        folder = tempfile.TemporaryDirectory(prefix="xytok-", suffix=".shuffle")
        self._folder = Path(self._stack.enter_context(folder))
        return self

    def __exit__(self, *_: object) -> None:
        self._close_files()
        self._stack.close()

    def add(self, split: int, table: pa.Table) -> None:
        """Take rows of a split."""
        places = self._places_of(table[ROW].to_numpy())
        self._waiting.setdefault(split, []).append(table.append_column(_ORDER, pa.array(places)))
        self._waiting_bytes += table.nbytes
        if self._waiting_bytes >= _BUFFER_BYTES:
            self._flush()

    def read(self, split: int) -> Iterator[pa.Table]:
        """The rows of a split in the new order, a bucket at a time; nothing is added then."""
        self._flush()
        with on_this_disk(*_SPOOL):
            self._close_files()
        for bucket in range(1 << self._bits):
            path = self._path(split, bucket)
            if path.exists():
                yield _read_sorted(path)
                path.unlink()

    def _flush(self) -> None:
        for split, tables in self._waiting.items():
            whole: Any = pa.concat_tables(tables)
            buckets = self._buckets(whole[_ORDER].to_numpy())
            for bucket in np.unique(buckets):
                rows = whole.filter(pa.array(buckets == bucket))
                with on_this_disk(*_SPOOL):
                    self._writer(split, int(bucket), rows.schema).write_table(rows)
        self._waiting, self._waiting_bytes = {}, 0

    def _close_files(self) -> None:
        for writer, file in self._writers.values():
            writer.close()
            file.close()
        self._writers = {}

    def _buckets(self, places: NDArray[np.uint64]) -> NDArray[np.uint64]:
        # A shift by all 64 bits is undefined.
        if not self._bits:
            return np.zeros_like(places)
        return places >> np.uint64(64 - self._bits)

    def _writer(self, split: int, bucket: int, schema: Any) -> Any:
        if (split, bucket) not in self._writers:
            options = pa.ipc.IpcWriteOptions(compression="lz4")
            file = pa.OSFile(str(self._path(split, bucket)), "wb")
            writer = pa.ipc.new_stream(file, schema, options=options)
            self._writers[split, bucket] = (writer, file)
        return self._writers[split, bucket][0]

    def _path(self, split: int, bucket: int) -> Path:
        return self._folder / f"{split}-{bucket}.arrow"


def _read_sorted(path: Path) -> Any:
    with on_this_disk(*_SPOOL), pa.OSFile(str(path), "rb") as file:
        table: Any = pa.ipc.open_stream(file).read_all()
    return table.sort_by(_ORDER).drop_columns([_ORDER])
