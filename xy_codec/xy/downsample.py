"""Tokens at 50 Hz to frames at 12.5 Hz: a gated convolution beside a plain concatenation."""

import torch.nn.functional as F
from torch import Tensor, nn

from xy_codec.engine.layout import Layout, merge_steps
from xy_codec.engine.product import Linear, TapsConv
from xy_codec.xy.config import DownsampleConfig


class Downsample(nn.Module):
    """Four tokens of width D become one frame of width 4 D."""

    def __init__(self, config: DownsampleConfig) -> None:
        super().__init__()
        self.factor = config.avg_pooler
        width = config.d_model * self.factor
        # Kernel and stride are equal, so both convolutions see whole groups of tokens.
        self.gate_proj = TapsConv(config.d_model, width, self.factor, bias=False)
        self.up_proj = TapsConv(config.d_model, width, self.factor, bias=False)
        self.down_proj = Linear(width, width, bias=False)
        self.layer_norm = nn.LayerNorm(width)

    def forward(self, tokens: Tensor, layout: Layout) -> Tensor:
        """Token rows to frame rows; `layout` is that of the frames. The result is not masked."""
        return layout.rowwise(self._merge, merge_steps(tokens, self.factor))

    def _merge(self, rows: Tensor) -> Tensor:
        gated = F.silu(self.gate_proj(rows)) * self.up_proj(rows)
        merged: Tensor = self.layer_norm(self.down_proj(gated) + rows)
        return merged
