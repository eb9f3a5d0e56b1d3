"""The pack geometry: the constants that make codes independent of what is encoded beside a clip."""

from dataclasses import dataclass, replace
from typing import Literal, Self

import torch

Program = Literal["tiles", "pack", "compiled"]


@dataclass(frozen=True, slots=True)
class Geometry:
    """Steps (50 Hz tokens) in every matrix product, and how many steps a pack aims for.

    `tile_steps` decides bits and is recorded; `pack_steps` is tuning and is free. Clips start at
    multiples of `clip_steps`: whole 12.5 Hz frames of four. A pack of one shape has a place for one
    clip in `steps_a_clip`, 1.28 s; shorter clips leave some of it empty.

    `program` says how a pack runs: `tiles` as Python goes through tiles and clips; `pack` as one
    program of one shape, which is one tile; `compiled` is that program, compiled.
    """

    tile_steps: int
    pack_steps: int
    clip_steps: int = 4
    program: Program = "tiles"
    steps_a_clip: int = 64

    @property
    def has_one_shape(self) -> bool:
        """Whether every pack has the same shape, whatever is in it."""
        return self.program != "tiles"

    @property
    def most_clips(self) -> int:
        """How many clips a pack of one shape can hold."""
        return self.pack_steps // self.steps_a_clip

    @property
    def name(self) -> str:
        """The part that belongs to the identity; its wording is older than the word "step"."""
        return f"rows{self.tile_steps}" + (f"-{self.program}" if self.has_one_shape else "")

    def with_program(self, program: Program) -> Self:
        """The same tiles; a pack of one shape is one of them."""
        if program == "tiles":
            return self
        return replace(self, pack_steps=self.tile_steps, program=program)

    def steps_of(self, tokens: int) -> int:
        """Steps that a clip of so many tokens owns."""
        return -(-tokens // self.clip_steps) * self.clip_steps

    def whole_tiles(self, steps: int) -> int:
        """Steps of the buffer that a pack of so many steps runs in."""
        return max(1, -(-steps // self.tile_steps)) * self.tile_steps


# Chosen by tests/benchmarks/bench_tiles.py: smaller tiles lose 10 % and more, larger gain nothing.
CPU = Geometry(tile_steps=1024, pack_steps=8192)
CUDA = Geometry(tile_steps=8192, pack_steps=8192)


def geometry_for(device: torch.device, program: Program = "tiles") -> Geometry:
    """The geometry of a kind of device."""
    if program == "tiles":
        return CPU if device.type == "cpu" else CUDA
    # One tile is one pack, and a whole window of 1,500 steps must fit.
    steps = 2048 if device.type == "cpu" else CUDA.tile_steps
    return Geometry(steps, steps, program=program)
