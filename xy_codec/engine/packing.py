"""Clips laid end to end in buffers of fixed shape, so that a clip's bits are its own.

Everything row by row runs in tiles of one recorded number of rows; attention and convolutions run
per clip at the clip's own length. How many tiles a pack has is free, the size of a tile is not.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class Span:
    """Where one clip lies: its first row, the rows it owns, and how many of them are valid."""

    start: int
    rows: int
    length: int

    def scaled(self, up: int, down: int) -> "Span":
        """The same clip at `up / down` times the rate."""
        return Span(self.start * up // down, self.rows * up // down, self.length * up // down)


def lay_out(
    lengths: Sequence[tuple[int, int]], tile_rows: int, device: torch.device
) -> "PackedLayout":
    """Lay clips of `(rows, valid length)` end to end and round up to whole tiles."""
    spans, start = [], 0
    for rows, length in lengths:
        spans.append(Span(start, rows, length))
        start += rows
    num_tiles = max(1, -(-start // tile_rows))
    return PackedLayout(tuple(spans), num_tiles, tile_rows, device)


class PackedLayout:
    """Rows `[num_tiles * tile_rows, D]`; implements `Layout` for inference."""

    def __init__(
        self, spans: tuple[Span, ...], num_tiles: int, tile_rows: int, device: torch.device
    ) -> None:
        self.spans = spans
        self.num_tiles = num_tiles
        self.tile_rows = tile_rows
        self.device = device
        self._scaled: dict[tuple[int, int], PackedLayout] = {}
        self._edges: dict[int, Tensor] = {}

    @property
    def num_rows(self) -> int:
        """Rows of the whole pack, those of no clip included."""
        return self.num_tiles * self.tile_rows

    def rowwise(self, function: Callable[..., Tensor], *rows: Tensor) -> Tensor:
        """Apply the function tile by tile, always with the same number of rows."""
        if self.num_tiles == 1:
            return function(*rows)
        tiles = zip(*(torch.split(part, self.tile_rows) for part in rows), strict=True)
        return torch.cat([function(*tile) for tile in tiles])

    def attend(self, qkv: Tensor, num_heads: int) -> Tensor:
        """Attention of each clip at its own length, as if it were alone."""
        width = qkv.shape[1] // 3
        attended = qkv.new_zeros(self.num_rows, width)
        for span in self.spans:
            rows = slice(span.start, span.start + span.length)
            split = qkv[rows].view(span.length, 3, num_heads, -1).permute(1, 2, 0, 3)
            query, key, value = split.unsqueeze(1).unbind(0)
            if span.length:
                out = F.scaled_dot_product_attention(query, key, value)
                attended[rows] = out[0].transpose(0, 1).reshape(span.length, width)
        return attended

    def shift(self, rows: Tensor, by: int) -> Tensor:
        """Move the whole buffer, then zero the rows that crossed a clip's border."""
        if by == 0:
            return rows
        moved = torch.zeros_like(rows)
        if by > 0:
            moved[by:] = rows[: rows.shape[0] - by]
        else:
            moved[:by] = rows[-by:]
        return moved.index_fill_(0, self._crossed(by), 0.0)

    def depthwise(self, rows: Tensor, conv: nn.Conv1d) -> Tensor:
        """Convolve each clip alone."""
        out = torch.zeros_like(rows)
        for span in self.spans:
            part = slice(span.start, span.start + span.rows)
            out[part] = conv(rows[part].t().unsqueeze(0))[0].t()
        return out

    def mask(self, rows: Tensor) -> Tensor:
        """Nothing to do: no operation here reaches from one clip into another."""
        return rows

    def add_positions(self, rows: Tensor, table: Tensor) -> Tensor:
        """Add each clip's positions, counted from its own first row."""
        return rows + table[self._positions]

    def faster(self, factor: int) -> "PackedLayout":
        """The same clips at a higher rate, in as many tiles."""
        return self._at(factor, 1)

    def slower(self, factor: int) -> "PackedLayout":
        """The same clips at a lower rate, in as many tiles."""
        return self._at(1, factor)

    def _at(self, up: int, down: int) -> "PackedLayout":
        if (up, down) not in self._scaled:
            spans = tuple(span.scaled(up, down) for span in self.spans)
            rows = self.tile_rows * up // down
            self._scaled[up, down] = PackedLayout(spans, self.num_tiles, rows, self.device)
        return self._scaled[up, down]

    @cached_property
    def _positions(self) -> Tensor:
        positions = torch.zeros(self.num_rows, dtype=torch.long)
        for span in self.spans:
            positions[span.start : span.start + span.rows] = torch.arange(span.rows)
        return positions.to(self.device, non_blocking=True)

    def _crossed(self, by: int) -> Tensor:
        """Rows that a shift filled from outside their clip."""
        if by not in self._edges:
            rows: list[int] = []
            for span in self.spans:
                count, end = min(abs(by), span.rows), span.start + span.rows
                rows += (
                    range(span.start, span.start + count) if by >= 0 else range(end - count, end)
                )
            self._edges[by] = torch.tensor(rows, dtype=torch.long).to(
                self.device, non_blocking=True
            )
        return self._edges[by]
