"""Codes of many rows as arrays: shapes, ranges, counts and repeats without a loop over rows."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class CodeBatch:
    """The frames of all well-shaped rows of a batch side by side.

    `codes` is `[K, F]` over all frames of those rows, `rows` the row of each frame; `well_shaped`
    says of every row of the batch whether it is among them.
    """

    codes: NDArray[np.int16]
    rows: Integers
    well_shaped: Mask

    def count_values(self, codebook_size: int) -> Integers:
        """How often each entry occurs, `[K, codebook_size]`; values out of range are left out."""
        counts = np.zeros((len(self.codes), codebook_size), dtype=np.int64)
        for counted, values in zip(counts, self.codes, strict=True):
            if len(values) and (values.min() < 0 or values.max() >= codebook_size):
                values = values[(values >= 0) & (values < codebook_size)]
            counted[:] = np.bincount(values, minlength=codebook_size)
        return counts

    def out_of_range(self, codebook_size: int) -> Mask:
        """The rows with a value no codebook has."""
        found = np.zeros(len(self.well_shaped), dtype=np.bool_)
        if self.codes.size and (self.codes.min() < 0 or self.codes.max() >= codebook_size):
            bad = ((self.codes < 0) | (self.codes >= codebook_size)).any(axis=0)
            found[self.rows[bad]] = True
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


def read_codes(column: Any, num_frames: Integers, num_codebooks: int) -> CodeBatch:
    """The codes of an Arrow column of lists of lists; rows of another shape are only marked."""
    heights = np.diff(np.asarray(column.offsets))
    matrices = column.flatten()
    widths = np.diff(np.asarray(matrices.offsets))
    values = np.asarray(matrices.flatten())
    well_shaped = (heights == num_codebooks) & np.asarray(column.is_valid())
    if matrices.null_count or values.dtype != np.int16:
        well_shaped[:] = False
    first = np.cumsum(heights) - heights
    well_shaped &= _equal_widths(widths, first, heights, num_frames)
    row_starts = np.concatenate([[0], np.cumsum(widths)])[first][well_shaped]
    return CodeBatch(
        *_side_by_side(values, row_starts, num_frames[well_shaped], num_codebooks, well_shaped),
        well_shaped,
    )


def _equal_widths(
    widths: Integers, first: Integers, heights: Integers, num_frames: Integers
) -> Mask:
    """The rows whose lists all have `num_frames` values."""
    expected = np.repeat(num_frames, heights)
    wrong = np.concatenate([[0], np.cumsum(widths != expected)])
    return np.asarray(wrong[first + heights] == wrong[first])


def _side_by_side(
    values: NDArray[np.int16],
    row_starts: Integers,
    num_frames: Integers,
    num_codebooks: int,
    well_shaped: Mask,
) -> tuple[NDArray[np.int16], Integers]:
    total = int(num_frames.sum())
    frame_starts = np.cumsum(num_frames) - num_frames
    rows = np.repeat(np.flatnonzero(well_shaped), num_frames)
    place = np.arange(total) + np.repeat(row_starts - frame_starts, num_frames)
    stride = np.repeat(num_frames, num_frames)
    codes = np.empty((num_codebooks, total), dtype=np.int16)
    for codebook in codes:
        np.take(values, place, out=codebook)
        place += stride
    return codes, rows
