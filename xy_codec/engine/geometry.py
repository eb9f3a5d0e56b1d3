"""The pack geometry: the constants that make codes independent of what is encoded beside a clip."""

from dataclasses import dataclass

import torch

# Clips of compiled packs start at multiples of this many tokens, so that attention sums a clip's
# keys in the same blocks wherever it lies.
BLOCK_STEPS = 64


@dataclass(frozen=True, slots=True)
class Geometry:
    """Steps (50 Hz tokens) in every matrix product, and how many steps a pack aims for.

    `tile_steps` decides bits and is recorded; `pack_steps` is tuning and is free. Clips start at
    multiples of `clip_steps`: whole 12.5 Hz frames of four, or more where a compiler wants blocks.
    """

    tile_steps: int
    pack_steps: int
    clip_steps: int = 4
    is_compiled: bool = False

    @property
    def name(self) -> str:
        """The part that belongs to the identity; its wording is older than the word "step"."""
        return f"rows{self.tile_steps}" + ("-compiled" if self.is_compiled else "")

    def steps_of(self, tokens: int) -> int:
        """Steps that a clip of so many tokens owns."""
        return -(-tokens // self.clip_steps) * self.clip_steps

    def whole_tiles(self, steps: int) -> int:
        """Steps of the buffer that a pack of so many steps runs in."""
        return max(1, -(-steps // self.tile_steps)) * self.tile_steps


# Chosen by tests/benchmarks/bench_tiles.py: smaller tiles lose 10 % and more, larger gain nothing.
CPU = Geometry(tile_steps=1024, pack_steps=8192)
CUDA = Geometry(tile_steps=8192, pack_steps=8192)


def geometry_for(device: torch.device, is_compiled: bool = False) -> Geometry:
    """The geometry of a kind of device."""
    if not is_compiled:
        return CPU if device.type == "cpu" else CUDA
    # One tile is one pack: a compiled program has one shape, and a whole window must fit.
    steps = 2048 if device.type == "cpu" else CUDA.tile_steps
    return Geometry(steps, steps, clip_steps=BLOCK_STEPS, is_compiled=True)
