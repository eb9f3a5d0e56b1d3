"""Codes of many rows as arrays: shapes, ranges, counts and repeats without a loop over rows."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import xxhash
from numpy.typing import NDArray

from xy_codec.codes_shape import CodesShape

Integers = NDArray[np.int64]
# Entries of one remainder are a class: so few that pairs of them are counted in every shard.
NUM_CLASSES = 64
Mask = NDArray[np.bool_]


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
