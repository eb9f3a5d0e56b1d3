"""Another order of all rows in bounded memory: they go to files on this machine's disk by a number.

For a shuffle the number is a bijective hash of the row's place and the seed; the new order is that
of the numbers. A bucket holds the rows of a range of them and is sorted in memory, so the order
depends neither on the number of buckets nor on how rows were read.
"""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
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
        # Files without a name, so that nothing stays of a process that is killed.
        self._files: dict[tuple[int, int], Any] = {}
        self._writers: dict[tuple[int, int], Any] = {}
        self._waiting: dict[int, list[pa.Table]] = {}
        self._waiting_bytes = 0

    def __enter__(self) -> "Spool":
        return self

    def __exit__(self, *_: object) -> None:
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
            self._end_writing()
        for bucket in range(1 << self._bits):
            file = self._files.pop((split, bucket), None)
            if file is not None:
                yield _read_sorted(file)
                file.close()

    def _flush(self) -> None:
        for split, tables in self._waiting.items():
            whole: Any = pa.concat_tables(tables)
            buckets = self._buckets(whole[_ORDER].to_numpy())
            for bucket in np.unique(buckets):
                rows = whole.filter(pa.array(buckets == bucket))
                with on_this_disk(*_SPOOL):
                    self._writer(split, int(bucket), rows.schema).write_table(rows)
        self._waiting, self._waiting_bytes = {}, 0

    def _end_writing(self) -> None:
        for writer in self._writers.values():
            writer.close()
        self._writers = {}

    def _buckets(self, places: NDArray[np.uint64]) -> NDArray[np.uint64]:
        # A shift by all 64 bits is undefined.
        if not self._bits:
            return np.zeros_like(places)
        return places >> np.uint64(64 - self._bits)

    def _writer(self, split: int, bucket: int, schema: Any) -> Any:
        if (split, bucket) not in self._writers:
            options = pa.ipc.IpcWriteOptions(compression="lz4")
            made = tempfile.TemporaryFile(prefix="xytok-")  # noqa: SIM115 - the stack closes it
            file = self._stack.enter_context(made)
            self._files[split, bucket] = file
            sink = pa.PythonFile(file, "w")
            self._writers[split, bucket] = pa.ipc.new_stream(sink, schema, options=options)
        return self._writers[split, bucket]


def _read_sorted(file: Any) -> Any:
    with on_this_disk(*_SPOOL):
        file.seek(0)
        table: Any = pa.ipc.open_stream(pa.PythonFile(file, "r")).read_all()
    return table.sort_by(_ORDER).drop_columns([_ORDER])
