"""How clips lie in a tensor, and therefore how rows are multiplied, shifted and attended.

The modules of the model are written once against `Layout`. `PaddedLayout` is the usual batch
`[B, T, D]` with lengths, differentiable. `PackedLayout` (packing.py) lays clips end to end in
buffers of a fixed shape, so that a clip's bits depend on nothing around it.
"""

from collections.abc import Callable
from typing import Protocol, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Layout(Protocol):
    """Where each clip's rows are; the last axis is width, the one before it time."""

    def rowwise(self, function: Callable[..., Tensor], *rows: Tensor) -> Tensor:
        """Apply a function whose every output row depends on the same input row only."""
        ...

    def attend(self, qkv: Tensor, num_heads: int) -> Tensor:
        """Full attention inside each clip of rows `[q | k | v]`."""
        ...

    def shift(self, rows: Tensor, by: int) -> Tensor:
        """Move rows later (earlier if negative) inside each clip; zeros come in from outside."""
        ...

    def depthwise(self, rows: Tensor, conv: nn.Conv1d) -> Tensor:
        """Apply a depthwise convolution inside each clip, zeros around it."""
        ...

    def mask(self, rows: Tensor) -> Tensor:
        """Zero the rows beyond each clip's length where they could reach into it."""
        ...

    def add_positions(self, rows: Tensor, table: Tensor) -> Tensor:
        """Add `table[t]` to the row at time t of its clip."""
        ...

    def faster(self, factor: int) -> Self:
        """The layout of the same clips at `factor` times the rate."""
        ...

    def slower(self, factor: int) -> Self:
        """The layout of the same clips at the rate divided by `factor`."""
        ...


class PaddedLayout:
    """A batch `[B, T, D]` in which clip i occupies the first `lengths[i]` time steps."""

    def __init__(self, lengths: Tensor, num_steps: int) -> None:
        self.lengths = lengths
        self.num_steps = num_steps
        steps = torch.arange(num_steps, device=lengths.device)
        self.valid = steps < lengths[:, None]

    def rowwise(self, function: Callable[..., Tensor], *rows: Tensor) -> Tensor:
        """Apply the function to the whole batch at once."""
        return function(*rows)

    def attend(self, qkv: Tensor, num_heads: int) -> Tensor:
        """Masked attention; an empty clip attends to its first step, and stays masked after."""
        batch, steps, _ = qkv.shape
        split = qkv.view(batch, steps, 3, num_heads, -1).permute(2, 0, 3, 1, 4)
        visible = self.valid.clone()
        visible[:, 0] = True
        query, key, value = split.unbind(0)
        attended = F.scaled_dot_product_attention(
            query, key, value, attn_mask=visible[:, None, None, :]
        )
        return attended.transpose(1, 2).reshape(batch, steps, -1)

    def shift(self, rows: Tensor, by: int) -> Tensor:
        """Move every clip of the batch; what lies beyond a clip's length moves with it."""
        steps = rows.shape[1]
        if by >= 0:
            return F.pad(rows, (0, 0, by, 0))[:, :steps]
        return F.pad(rows, (0, 0, 0, -by))[:, -steps:]

    def depthwise(self, rows: Tensor, conv: nn.Conv1d) -> Tensor:
        """Convolve the whole batch; the caller has masked it."""
        convolved: Tensor = conv(rows.transpose(1, 2)).transpose(1, 2)
        return convolved

    def mask(self, rows: Tensor) -> Tensor:
        """Zero the steps beyond each clip's length."""
        return torch.where(self.valid[..., None], rows, 0.0)

    def add_positions(self, rows: Tensor, table: Tensor) -> Tensor:
        """Add the first T rows of the table."""
        return rows + table[: rows.shape[1]]

    def faster(self, factor: int) -> "PaddedLayout":
        """The same batch at a higher rate."""
        return PaddedLayout(self.lengths * factor, self.num_steps * factor)

    def slower(self, factor: int) -> "PaddedLayout":
        """The same batch at a lower rate; a last partial step does not count."""
        return PaddedLayout(self.lengths // factor, self.num_steps // factor)


def merge_steps(rows: Tensor, factor: int) -> Tensor:
    """`[.., T, D]` to `[.., T / factor, factor * D]`: consecutive steps side by side."""
    return rows.reshape(*rows.shape[:-2], rows.shape[-2] // factor, factor * rows.shape[-1])


def split_steps(rows: Tensor, factor: int) -> Tensor:
    """The inverse of `merge_steps`."""
    return rows.reshape(*rows.shape[:-2], rows.shape[-2] * factor, rows.shape[-1] // factor)
