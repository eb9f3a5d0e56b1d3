"""The pack geometry: the constant that makes codes independent of what is encoded beside a clip."""

from dataclasses import dataclass

import torch

FRAME_ROWS = 4  # tokens in a 12.5 Hz frame
# Clips of compiled packs start at multiples of this many tokens, so that attention sums a clip's
# keys in the same blocks wherever it lies.
BLOCK_ROWS = 64


@dataclass(frozen=True, slots=True)
class Geometry:
    """Rows (50 Hz tokens) in every matrix product, and how many rows a pack aims for.

    `tile_rows` decides bits and is recorded; `pack_rows` is tuning and is free. Clips start at
    multiples of `clip_rows`: whole 12.5 Hz frames, or more where a compiler wants blocks.
    """

    tile_rows: int
    pack_rows: int
    clip_rows: int = FRAME_ROWS
    is_compiled: bool = False

    @property
    def name(self) -> str:
        """The part that belongs to the identity."""
        return f"rows{self.tile_rows}" + ("-compiled" if self.is_compiled else "")

    def rows_of(self, tokens: int) -> int:
        """Rows that a clip of so many tokens owns."""
        return -(-tokens // self.clip_rows) * self.clip_rows

    def whole_tiles(self, rows: int) -> int:
        """Rows of the buffer that a pack of so many rows runs in."""
        return max(1, -(-rows // self.tile_rows)) * self.tile_rows

    def is_full(self, used: int, coming: int) -> bool:
        """Whether to run a pack of `used` rows rather than add a clip of `coming` rows.

        Past half the aim, a pack that ends just below a tile's border is worth running as it is.
        """
        if used == 0:
            return False
        if used + coming > self.pack_rows:
            return True
        return 2 * used >= self.pack_rows and -used % self.tile_rows <= self.tile_rows // 16


# Chosen by tests/benchmarks/bench_rows.py: smaller tiles lose 10 % and more, larger gain nothing.
CPU = Geometry(tile_rows=1024, pack_rows=8192)
CUDA = Geometry(tile_rows=8192, pack_rows=8192)


def geometry_for(device: torch.device, is_compiled: bool = False) -> Geometry:
    """The geometry of a kind of device."""
    if not is_compiled:
        return CPU if device.type == "cpu" else CUDA
    # One tile is one pack: a compiled program has one shape, and a whole window must fit.
    rows = 2048 if device.type == "cpu" else CUDA.tile_rows
    return Geometry(rows, rows, clip_rows=BLOCK_ROWS, is_compiled=True)
