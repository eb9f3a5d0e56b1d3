"""Packs of one shape whose clips are known to tensors only, fit for compilers and CUDA graphs.

Where `PackedLayout` goes through clips in Python, everything here is one operation on the whole
pack: a compiled encoder is the same program for every pack. Only what encoding needs exists.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.attention.flex_attention import BlockMask, flex_attention

from xy_codec.engine.geometry import BLOCK_ROWS


class PackMap(NamedTuple):
    """Where clips lie in a pack of R rows.

    Attributes:
        place: `[R]`, each row's position in its clip; 0 in rows of no clip.
        clip: `[R]`, the number of the clip that a row attends within, -1 where it attends to none.
        num_blocks: `[1, 1, R / B]`, how many blocks of B keys each block of queries sees.
        blocks: `[1, 1, R / B, R / B]`, which ones.
    """

    place: Tensor
    clip: Tensor
    num_blocks: Tensor
    blocks: Tensor

    def to(self, device: torch.device) -> "PackMap":
        """The same map on a device."""
        return PackMap(*(part.to(device, non_blocking=True) for part in self))


def map_clips(lengths: Sequence[tuple[int, int]], num_rows: int) -> PackMap:
    """Lay clips of `(rows, valid length)` end to end; rows are multiples of `BLOCK_ROWS`."""
    count = num_rows // BLOCK_ROWS
    place = torch.zeros(num_rows, dtype=torch.int64)
    clip = torch.full((num_rows,), -1, dtype=torch.int32)
    num_blocks = torch.zeros(1, 1, count, dtype=torch.int32)
    blocks = torch.zeros(1, 1, count, count, dtype=torch.int32)
    start = 0
    for number, (rows, length) in enumerate(lengths):
        place[start : start + rows] = torch.arange(rows)
        clip[start : start + length] = number
        first, seen = start // BLOCK_ROWS, -(-length // BLOCK_ROWS)
        num_blocks[0, 0, first : first + seen] = seen
        blocks[0, 0, first : first + seen, :seen] = torch.arange(first, first + seen)
        start += rows
    return PackMap(place, clip, num_blocks, blocks)


class FixedLayout:
    """Rows `[R, D]`; implements `Layout` as far as encoding needs it."""

    def __init__(self, place: Tensor, where: PackMap | None = None) -> None:
        self._place = place
        self._where = where

    def rowwise(self, function: Callable[..., Tensor], *rows: Tensor) -> Tensor:
        """Apply the function to the whole pack at once: its shape is always the same."""
        return function(*rows)

    def attend(self, qkv: Tensor, num_heads: int) -> Tensor:
        """Attention of all clips in one call; rows that attend to none get zeros."""
        if self._where is None:
            raise NotImplementedError("A fixed layout attends at the rate of the tokens only")
        clip = self._where.clip

        def is_same_clip(_batch: Tensor, _head: Tensor, query: Tensor, key: Tensor) -> Tensor:
            return (clip[query] == clip[key]) & (clip[query] >= 0)

        mask = BlockMask.from_kv_blocks(
            self._where.num_blocks, self._where.blocks, BLOCK_SIZE=BLOCK_ROWS, mask_mod=is_same_clip
        )
        num_rows = qkv.shape[0]
        split = qkv.view(num_rows, 3, num_heads, -1).permute(1, 2, 0, 3).unsqueeze(1)
        query, key, value = split.unbind(0)
        attended = flex_attention(query, key, value, block_mask=mask)
        assert isinstance(attended, Tensor)
        return attended[0].transpose(0, 1).reshape(num_rows, -1)

    def shift(self, rows: Tensor, by: int) -> Tensor:
        """Move the whole pack, and keep a row where its clip moved with it."""
        is_kept = self._place.roll(by) == self._place - by
        return torch.where(is_kept[:, None], rows.roll(by, 0), 0.0)

    def depthwise(self, rows: Tensor, conv: nn.Conv1d) -> Tensor:
        """Not for encoding."""
        raise NotImplementedError("A fixed layout has no depthwise convolution")

    def mask(self, rows: Tensor) -> Tensor:
        """Nothing to do: no operation here reaches from one clip into another."""
        return rows

    def add_positions(self, rows: Tensor, table: Tensor) -> Tensor:
        """Add each clip's positions; rows that round a whole window up have none left."""
        return rows + table[self._place.clamp(max=table.shape[0] - 1)]

    def faster(self, factor: int) -> "FixedLayout":
        """The same clips at a higher rate."""
        steps = torch.arange(factor, device=self._place.device)
        return FixedLayout((self._place[:, None] * factor + steps).flatten())

    def slower(self, factor: int) -> "FixedLayout":
        """The same clips at a lower rate."""
        return FixedLayout(self._place[::factor] // factor)
