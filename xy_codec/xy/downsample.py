"""Tokens at 50 Hz to frames at 12.5 Hz: a gated convolution beside a plain concatenation."""

import torch.nn.functional as F
from torch import Tensor, nn

from xy_codec.xy.config import DownsampleConfig


class Downsample(nn.Module):
    """Four tokens of width D become one frame of width 4 D."""

    def __init__(self, config: DownsampleConfig) -> None:
        super().__init__()
        self.factor = config.avg_pooler
        width = config.d_model * self.factor
        # Kernel and stride are equal, so that a frame reads its own four tokens only.
        self.gate_proj = nn.Conv1d(config.d_model, width, self.factor, self.factor, bias=False)
        self.up_proj = nn.Conv1d(config.d_model, width, self.factor, self.factor, bias=False)
        self.down_proj = nn.Linear(width, width, bias=False)
        self.layer_norm = nn.LayerNorm(width)

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens `[B, 4 T, D]` to frames `[B, T, 4 D]`; those beyond a clip's end are not 0."""
        channels = tokens.transpose(1, 2)
        gated = F.silu(self.gate_proj(channels)) * self.up_proj(channels)
        concatenated = tokens.reshape(len(tokens), -1, self.factor * tokens.shape[2])
        frames: Tensor = self.layer_norm(self.down_proj(gated.transpose(1, 2)) + concatenated)
        return frames
