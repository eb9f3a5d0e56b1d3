"""The padded batch as training computes it: attention written out, masks only where needed.

Written out, the short attentions of training take half the time of the fused kernel in bfloat16
on a CPU (its backward pass is slow there); results differ in rounding only.
"""

import torch
from torch import Tensor

from xy_codec.engine.layout import PaddedLayout

_FAR = -1e4


class TrainingLayout(PaddedLayout):
    """A batch `[B, T, D]`; skips masking when every clip fills it."""

    def __init__(self, lengths: Tensor, num_steps: int) -> None:
        super().__init__(lengths, num_steps)
        self.is_full = bool((lengths >= num_steps).all())

    def attend(self, qkv: Tensor, num_heads: int) -> Tensor:
        """Full attention inside each clip."""
        batch, steps, _ = qkv.shape
        split = qkv.view(batch, steps, 3, num_heads, -1).permute(2, 0, 3, 1, 4)
        query, key, value = split.reshape(3, batch * num_heads, steps, -1)
        scores = torch.bmm(query * query.shape[-1] ** -0.5, key.transpose(1, 2)).float()
        if not self.is_full:
            hidden = ~self.valid[:, None, None, :]
            scores = scores.view(batch, num_heads, steps, steps).masked_fill(hidden, _FAR)
            scores = scores.view(batch * num_heads, steps, steps)
        mixed = torch.bmm(scores.softmax(-1).to(value.dtype), value)
        return mixed.view(batch, num_heads, steps, -1).transpose(1, 2).reshape(batch, steps, -1)

    def mask(self, rows: Tensor) -> Tensor:
        """Zero the steps beyond each clip's length."""
        return rows if self.is_full else super().mask(rows)

    def faster(self, factor: int) -> "TrainingLayout":
        """The same batch at a higher rate."""
        return TrainingLayout(self.lengths * factor, self.num_steps * factor)

    def slower(self, factor: int) -> "TrainingLayout":
        """The same batch at a lower rate; a last partial step does not count."""
        return TrainingLayout(self.lengths // factor, self.num_steps // factor)
