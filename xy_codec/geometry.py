"""The pack geometry: the constant that makes codes independent of what is encoded beside a clip."""

from dataclasses import dataclass

import torch


@dataclass(frozen=True, slots=True)
class Geometry:
    """Rows (50 Hz tokens) in every matrix product, and how many rows a pack aims for.

    `tile_rows` decides bits and is recorded; `pack_rows` is tuning and is free.
    """

    tile_rows: int
    pack_rows: int

    @property
    def name(self) -> str:
        """The part that belongs to the identity."""
        return f"rows{self.tile_rows}"

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


def geometry_for(device: torch.device) -> Geometry:
    """The geometry of a kind of device."""
    return CPU if device.type == "cpu" else CUDA
