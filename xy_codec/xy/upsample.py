"""Frames at 12.5 Hz to tokens at 50 Hz: one transposed convolution."""

from torch import Tensor, nn

from xy_codec.xy.config import UpsampleConfig


class Upsample(nn.Module):
    """One frame of width 4 D becomes four tokens of width D."""

    def __init__(self, config: UpsampleConfig) -> None:
        super().__init__()
        self.factor = config.stride
        width = config.d_model
        self.up_conv = nn.ConvTranspose1d(
            width * self.factor, width, self.factor, self.factor, bias=False
        )

    def forward(self, frames: Tensor) -> Tensor:
        """Frames `[B, T, 4 D]` to tokens `[B, 4 T, D]`."""
        tokens: Tensor = self.up_conv(frames.transpose(1, 2))
        return tokens.transpose(1, 2)
