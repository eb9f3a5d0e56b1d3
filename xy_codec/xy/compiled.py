"""The encoder as one compiled program; on a GPU it is also one CUDA graph a pack.

Where `TiledLayout` goes through clips in Python, everything here is one operation on the whole
pack, whose clips are known to tensors only: every pack runs the same program. Decoding has none.
"""

import os
import shutil
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, flex_attention

from xy_codec.engine.geometry import BLOCK_STEPS
from xy_codec.engine.layout import Layout, lay_out
from xy_codec.errors import ConfigError
from xy_codec.xy.packed_model import PackedEncoder


class PackMap(NamedTuple):
    """Where clips lie in a pack of S steps.

    Attributes:
        place: `[S]`, each step's position in its clip; 0 in steps of no clip.
        clip: `[S]`, the number of the clip that a step attends within, -1 where it attends to none.
        num_blocks: `[1, 1, S / B]`, how many blocks of B keys each block of queries sees.
        blocks: `[1, 1, S / B, S / B]`, which ones.
    """

    place: Tensor
    clip: Tensor
    num_blocks: Tensor
    blocks: Tensor

    def to(self, device: torch.device) -> "PackMap":
        """The same map on a device."""
        return PackMap(*(part.to(device, non_blocking=True) for part in self))


def map_clips(sizes: Sequence[tuple[int, int]], num_steps: int) -> PackMap:
    """Lay clips of `(steps, valid length)` end to end; steps are multiples of `BLOCK_STEPS`."""
    spans, place = lay_out(sizes, num_steps)
    count = num_steps // BLOCK_STEPS
    clip = torch.full((num_steps,), -1, dtype=torch.int32)
    num_blocks = torch.zeros(1, 1, count, dtype=torch.int32)
    blocks = torch.zeros(1, 1, count, count, dtype=torch.int32)
    for number, (start, _, length) in enumerate(spans):
        clip[start : start + length] = number
        first, seen = start // BLOCK_STEPS, -(-length // BLOCK_STEPS)
        num_blocks[0, 0, first : first + seen] = seen
        blocks[0, 0, first : first + seen, :seen] = torch.arange(first, first + seen)
    return PackMap(place, clip, num_blocks, blocks)


class MappedLayout(Layout):
    """A pack in one tile; only at the rate of the tokens does it know who attends to whom."""

    def __init__(self, place: Tensor, where: PackMap | None = None) -> None:
        super().__init__(place)
        self._where = where

    def attend(self, qkv: Tensor, num_heads: int) -> Tensor:
        """Attention of all clips in one call; steps that attend to none get zeros."""
        if self._where is None:
            raise NotImplementedError("A mapped layout attends at the rate of the tokens only")
        clip = self._where.clip

        def is_same_clip(_batch: Tensor, _head: Tensor, query: Tensor, key: Tensor) -> Tensor:
            return (clip[query] == clip[key]) & (clip[query] >= 0)

        mask = BlockMask.from_kv_blocks(
            self._where.num_blocks,
            self._where.blocks,
            BLOCK_SIZE=BLOCK_STEPS,
            mask_mod=is_same_clip,
        )
        split = qkv.view(len(qkv), 3, num_heads, -1).permute(1, 2, 0, 3).unsqueeze(1)
        query, key, value = split.unbind(0)
        attended = flex_attention(query, key, value, block_mask=mask)
        assert isinstance(attended, Tensor)
        return attended[0].transpose(0, 1).reshape(len(qkv), -1)

    def _at(self, place: Tensor, _up: int, _down: int) -> "MappedLayout":
        return MappedLayout(place)


class CompiledEncoder:
    """`PackedEncoder`, compiled; the first pack of each number of codebooks compiles."""

    def __init__(self, encoder: PackedEncoder, num_steps: int) -> None:
        on_gpu = encoder.mel.window.is_cuda
        _check_compiler(on_gpu)
        self._encoder = encoder
        self._num_steps = num_steps
        # Never `max-autotune`: it chooses kernels by their speed on the day, and two workers that
        # chose differently would write different codes.
        mode = "reduce-overhead" if on_gpu else "default"
        self._program = torch.compile(self._encode, fullgraph=True, dynamic=False, mode=mode)

    def __call__(self, mel: Tensor, sizes: Sequence[tuple[int, int]], num_codebooks: int) -> Tensor:
        """Codes `[frames of the pack, K]`; on a GPU to be copied before the next call."""
        where = map_clips(sizes, self._num_steps).to(mel.device)
        torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]
        return self._program(mel, where, num_codebooks)

    def _encode(self, mel: Tensor, where: PackMap, num_codebooks: int) -> Tensor:
        codes: Tensor = self._encoder(mel, MappedLayout(where.place, where), num_codebooks)
        return codes


def _check_compiler(on_gpu: bool) -> None:
    """Name a missing compiler at start: torch would fail at the first pack, with a long trace."""
    variable, names = ("CC", ("gcc", "clang")) if on_gpu else ("CXX", ("g++", "clang++"))
    if not any(shutil.which(name) for name in (os.environ.get(variable, names[0]), *names)):
        raise ConfigError(
            f"The encoder is to be compiled, but there is no compiler; expected one of "
            f"{', '.join(names)} on the PATH or in `{variable}`. Install one (`apt install "
            f"{names[0]}`), or leave out `--compile`."
        )
