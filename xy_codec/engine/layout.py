"""Where clips lie in a pack: end to end in one buffer `[S, D]` of a fixed number of steps S.

What a step's result needs beyond the step itself goes through a layout: attention, neighbours in
time, positions. Each stays inside a clip, so that a clip's bits do not depend on the others.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import NamedTuple, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel


class Span(NamedTuple):
    """Where one clip lies: its first step, the steps it owns, and how many of them are valid."""

    start: int
    steps: int
    length: int

    def scaled(self, up: int, down: int) -> "Span":
        """The same clip at `up / down` times the rate."""
        return Span(*(number * up // down for number in self))


class Layout(ABC):
    """What every layout does alike, knowing only `place` `[S]`: each step's position in its clip.

    Steps of no clip have place 0; what they hold is never read.
    """

    def __init__(self, place: Tensor) -> None:
        self.place = place
        # By how many steps, and which steps then come from outside of their clip.
        self._crossed: dict[int, Tensor] = {}

    def stepwise(self, function: Callable[..., Tensor], *steps: Tensor) -> Tensor:
        """Apply a function whose every output step depends on the same input step only."""
        return function(*steps)

    def norm(self, norm: nn.LayerNorm, steps: Tensor) -> Tensor:
        """Normalise steps for a matrix product, which may want them in another precision."""
        normed: Tensor = norm(steps)
        return normed

    def shift(self, steps: Tensor, by: int) -> Tensor:
        """Move steps later (earlier if negative) inside each clip; zeros come in from outside."""
        if by == 0:
            return steps
        if by not in self._crossed:
            self._crossed[by] = (self.place.roll(by) != self.place - by)[:, None]
        return steps.roll(by, 0).masked_fill_(self._crossed[by], 0.0)

    def with_neighbours(self, steps: Tensor) -> Tensor:
        """`[S, D]` to `[S, 3 D]`: the step before, the step itself and the one behind it."""
        return torch.cat((self.shift(steps, 1), steps, self.shift(steps, -1)), dim=-1)

    def pairs_with_before(self, steps: Tensor) -> Tensor:
        """Steps `[2 S, D]` of twice the rate to `[S, 3 D]`: two of them and the one before."""
        pairs = steps.reshape(len(steps) // 2, -1)
        before = self.shift(pairs[:, pairs.shape[1] // 2 :], 1)
        return torch.cat((before, pairs), dim=-1)

    def add_positions(self, steps: Tensor, table: Tensor) -> Tensor:
        """Add `table[t]` to the step at place t of its clip."""
        return steps + table[self.place.clamp(max=table.shape[0] - 1)]

    def faster(self, factor: int) -> Self:
        """The same clips at `factor` times the rate."""
        steps = torch.arange(factor, device=self.place.device)
        return self._at((self.place[:, None] * factor + steps).flatten(), factor, 1)

    def slower(self, factor: int) -> Self:
        """The same clips at the rate divided by `factor`."""
        return self._at(self.place[::factor] // factor, 1, factor)

    @abstractmethod
    def attend(self, qkv: Tensor, num_heads: int) -> Tensor:
        """Full attention inside each clip, of steps `[q | k | v]`."""

    @abstractmethod
    def depthwise(self, steps: Tensor, conv: nn.Conv1d) -> Tensor:
        """Convolve each channel in time, inside each clip."""

    @abstractmethod
    def _at(self, place: Tensor, up: int, down: int) -> Self:
        """The layout at `up / down` times the rate, with the places there."""


class TiledLayout(Layout):
    """Runs what is stepwise in tiles of one recorded number of steps, the rest clip by clip.

    How many tiles a pack has is free; the size of a tile decides bits.
    """

    def __init__(self, place: Tensor, spans: Sequence[Span], tile_steps: int) -> None:
        super().__init__(place)
        self.spans = spans
        self.tile_steps = tile_steps

    def stepwise(self, function: Callable[..., Tensor], *steps: Tensor) -> Tensor:
        """Apply the function tile by tile, always with the same number of steps."""
        if len(self.place) == self.tile_steps:
            return function(*steps)
        tiles = zip(*(torch.split(part, self.tile_steps) for part in steps), strict=True)
        return torch.cat([function(*tile) for tile in tiles])

    def shift(self, steps: Tensor, by: int) -> Tensor:
        """Move steps later (earlier if negative) inside each clip; zeros come in from outside.

        Fills the few steps at the borders of clips: a third of the time of a mask over all.
        """
        if by == 0:
            return steps
        owned = [range(start, start + count) for start, count, _ in self.spans]
        crossed = [step for own in owned for step in (own[:by] if by > 0 else own[by:])]
        where = torch.tensor(crossed, dtype=torch.long).to(steps.device, non_blocking=True)
        return steps.roll(by, 0).index_fill_(0, where, 0.0)

    def attend(self, qkv: Tensor, num_heads: int) -> Tensor:
        """Attention of each clip at its own length, as if it were alone."""
        width = qkv.shape[1] // 3
        attended = qkv.new_zeros(len(qkv), width)
        for start, _, length in self.spans:
            own = slice(start, start + length)
            attended[own] = attend_alone(qkv[own], num_heads)
        return attended

    def depthwise(self, steps: Tensor, conv: nn.Conv1d) -> Tensor:
        """Convolve each clip alone."""
        out = torch.zeros_like(steps)
        for span in self.spans:
            own = slice(span.start, span.start + span.steps)
            out[own] = convolve_alone(steps[own], conv.weight, conv.bias)
        return out

    def _at(self, place: Tensor, up: int, down: int) -> "TiledLayout":
        spans = [span.scaled(up, down) for span in self.spans]
        return TiledLayout(place, spans, self.tile_steps * up // down)


def attend_alone(qkv: Tensor, num_heads: int) -> Tensor:
    """Full attention of one clip's steps `[q | k | v]`, `[T, 3 D]` to `[T, D]`."""
    length, width = qkv.shape[0], qkv.shape[1] // 3
    split = qkv.view(length, 3, num_heads, -1).permute(1, 2, 0, 3)
    query, key, value = split.unsqueeze(1).unbind(0)
    out = fused_attention(query, key, value)
    return out[0].transpose(0, 1).reshape(length, width)


def fused_attention(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None
) -> Tensor:
    """Torch's attention; on a GPU always the same one of its kernels, which it else chooses by
    shapes. It fails there where that kernel cannot run."""
    if not query.is_cuda:
        return F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
    with sdpa_kernel(SDPBackend.EFFICIENT_ATTENTION):
        return F.scaled_dot_product_attention(query, key, value, attn_mask=mask)


def convolve_alone(steps: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Steps `[T, D]` of one clip with an odd kernel `[D, 1, k]`, each channel by itself."""
    reach, width = weight.shape[2] // 2, len(weight)
    return F.conv1d(steps.t().unsqueeze(0), weight, bias, padding=reach, groups=width)[0].t()


def lay_out(sizes: Sequence[tuple[int, int]], num_steps: int) -> tuple[list[Span], Tensor]:
    """Clips of `(steps, valid length)` end to end in a buffer, and the place of each step."""
    spans, start = [], 0
    place = torch.zeros(num_steps, dtype=torch.long)
    for steps, length in sizes:
        spans.append(Span(start, steps, length))
        place[start : start + steps] = torch.arange(steps)
        start += steps
    return spans, place


def lay_out_in_tiles(
    sizes: Sequence[tuple[int, int]], num_steps: int, tile_steps: int, device: torch.device
) -> TiledLayout:
    """A layout of clips of `(steps, valid length)` in a buffer of whole tiles."""
    spans, place = lay_out(sizes, num_steps)
    return TiledLayout(place.to(device, non_blocking=True), spans, tile_steps)
