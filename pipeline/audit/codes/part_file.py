"""One part read whole: rows for sampling, codes for comparing, batches of them as arrays."""

import hashlib
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import xxhash
from numpy.typing import NDArray

from pipeline.errors import OutputError
from pipeline.output.manifest import Manifest
from pipeline.storage.client import Storage
from pipeline.storage.location import join
from xy_codec.codes_shape import CodesShape
from xy_codec.contract import Codes

# What reading a part raises whose footer or pages are damaged, or whose columns are others.
DAMAGED = (pa.ArrowException, OSError, KeyError, ValueError)
Integers = NDArray[np.int64]
# Entries of one remainder are a class: so few that pairs of them are counted in every shard.
NUM_CLASSES = 64
Mask = NDArray[np.bool_]


class PartFile:
    """The bytes of a part; a part of ten thousand clips has about 13 MB."""

    def __init__(self, content: bytes) -> None:
        self.size_bytes = len(content)
        self.sha256 = hashlib.sha256(content).hexdigest()
        try:
            self._file = pq.ParquetFile(io.BytesIO(content))
        except (pa.ArrowException, OSError) as error:
            raise OutputError(f"the part is no Parquet file: {error}") from error

    @classmethod
    def read(cls, storage: Storage, output: str, manifest: Manifest) -> "PartFile":
        """The part that a manifest names."""
        return cls(storage.read_bytes(join(output, manifest.part.path)))

    def batches(self, columns: Sequence[str]) -> Iterator[Any]:
        """Record batches of some columns, one row group at a time."""
        for group in range(self._file.num_row_groups):
            table = self._file.read_row_group(group, columns=list(columns), use_threads=False)
            yield from table.combine_chunks().to_batches()

    def columns_without_codes(self) -> Any:
        """Every column but the codes, all rows."""
        names = [name for name in self._file.schema_arrow.names if name != "codes"]
        return self._file.read(columns=names, use_threads=False)

    def codes_of(self, rows: Sequence[int]) -> dict[int, Codes]:
        """The codes of some rows; a row whose lists are uneven comes without frames."""
        found: dict[int, Codes] = {}
        start = 0
        for group in range(self._file.num_row_groups):
            size = self._file.metadata.row_group(group).num_rows
            wanted = [row for row in rows if start <= row < start + size]
            if wanted:
                column = self._file.read_row_group(group, columns=["codes"], use_threads=False)
                kind = column.schema.field("codes").type.value_type.value_type.to_pandas_dtype()
                for row in wanted:
                    found[row] = _matrix(column["codes"][row - start].as_py(), kind)
            start += size
        return found


def _matrix(lists: list[list[int]] | None, kind: Any) -> Codes:
    if not lists or len({len(values) for values in lists}) != 1:
        return np.zeros((len(lists or ()), 0), dtype=kind)
    return np.array(lists, dtype=kind)


@dataclass(frozen=True, slots=True)
class CodeBatch:
    """The frames of all well-shaped rows of a batch side by side.

    `codes` is `[K, F]` over all frames of those rows, `rows` the row of each frame; `well_shaped`
    says of every row of the batch whether it is among them. `hashes` has one of the codes of each
    of them.
    """

    codes: NDArray[np.signedinteger[Any]]
    rows: Integers
    well_shaped: Mask
    hashes: NDArray[np.uint64]

    def count_values(self, shape: CodesShape) -> Integers:
        """How often each entry occurs, `[K, largest size]`; values out of range are left out."""
        counts = no_counts(shape)
        for counted, values, size in zip(counts, self.codes, shape.codebook_sizes, strict=True):
            if len(values) and (values.min() < 0 or values.max() >= size):
                values = values[(values >= 0) & (values < size)]
            counted[:size] = np.bincount(values, minlength=size)
        return counts

    def count_class_steps(self) -> Integers:
        """How often a class of entries of the first codebook follows another within a row."""
        classes = self.codes[0].astype(np.int64) % NUM_CLASSES
        inside = self.rows[1:] == self.rows[:-1]
        steps = classes[:-1][inside] * NUM_CLASSES + classes[1:][inside]
        return np.bincount(steps, minlength=NUM_CLASSES**2).reshape(NUM_CLASSES, NUM_CLASSES)

    def out_of_range(self, shape: CodesShape) -> Mask:
        """The rows with a value that its codebook does not have."""
        found = np.zeros(len(self.well_shaped), dtype=np.bool_)
        for values, size in zip(self.codes, shape.codebook_sizes, strict=True):
            if len(values) and (values.min() < 0 or values.max() >= size):
                found[self.rows[(values < 0) | (values >= size)]] = True
        return found

    def repeats(self) -> Mask:
        """The frames that equal the frame before them in the same row."""
        same = self.rows[1:] == self.rows[:-1]
        for values in self.codes:
            same &= values[1:] == values[:-1]
        return np.concatenate([[False], same])

    def longest_repeats(self) -> Integers:
        """Per row of the batch, the longest run of repeated frames."""
        repeated = np.concatenate([self.repeats(), [False]])
        longest = np.zeros(len(self.well_shaped), dtype=np.int64)
        edges = np.flatnonzero(np.diff(repeated.astype(np.int8)))
        starts, ends = edges[0::2] + 1, edges[1::2] + 1
        np.maximum.at(longest, self.rows[starts], ends - starts)
        return longest


def no_counts(shape: CodesShape) -> Integers:
    """Counts of which nothing is counted yet, `[K, largest size]`."""
    return np.zeros((shape.num_codebooks, max(shape.codebook_sizes)), dtype=np.int64)


def read_codes(column: Any, num_frames: Integers, shape: CodesShape) -> CodeBatch:
    """The codes of an Arrow column of lists of lists; rows of another shape are only marked."""
    heights = np.diff(np.asarray(column.offsets))
    matrices = column.flatten()
    widths = np.diff(np.asarray(matrices.offsets))
    values = np.asarray(matrices.flatten())
    well_shaped = (heights == shape.num_codebooks) & np.asarray(column.is_valid())
    if matrices.null_count or values.dtype != shape.dtype:
        well_shaped[:] = False
    first = np.cumsum(heights) - heights
    well_shaped &= _equal_widths(widths, first, heights, num_frames)
    row_starts = np.concatenate([[0], np.cumsum(widths)])[first][well_shaped]
    frames = num_frames[well_shaped]
    return CodeBatch(
        *_side_by_side(values, row_starts, frames, shape, well_shaped),
        well_shaped,
        _hashes(values, row_starts, frames * shape.num_codebooks),
    )


def _hashes(
    values: NDArray[np.signedinteger[Any]], starts: Integers, sizes: Integers
) -> NDArray[np.uint64]:
    places = zip(starts.tolist(), (starts + sizes).tolist(), strict=True)
    found = (xxhash.xxh64_intdigest(values[begin:end].data) for begin, end in places)
    return np.fromiter(found, np.uint64, len(starts))


def _equal_widths(
    widths: Integers, first: Integers, heights: Integers, num_frames: Integers
) -> Mask:
    """The rows whose lists all have `num_frames` values."""
    expected = np.repeat(num_frames, heights)
    wrong = np.concatenate([[0], np.cumsum(widths != expected)])
    return np.asarray(wrong[first + heights] == wrong[first])


def _side_by_side(
    values: NDArray[np.signedinteger[Any]],
    row_starts: Integers,
    num_frames: Integers,
    shape: CodesShape,
    well_shaped: Mask,
) -> tuple[NDArray[np.signedinteger[Any]], Integers]:
    total = int(num_frames.sum())
    frame_starts = np.cumsum(num_frames) - num_frames
    rows = np.repeat(np.flatnonzero(well_shaped), num_frames)
    place = np.arange(total) + np.repeat(row_starts - frame_starts, num_frames)
    stride = np.repeat(num_frames, num_frames)
    codes = np.empty((shape.num_codebooks, total), dtype=shape.dtype)
    for codebook in codes:
        np.take(values, place, out=codebook)
        place += stride
    return codes, rows
