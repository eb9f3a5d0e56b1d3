"""Frames at 12.5 Hz to tokens at 50 Hz: one transposed convolution."""

from torch import Tensor, nn

from xy_codec.engine.layout import Layout, split_steps
from xy_codec.engine.product import SpreadDeconv
from xy_codec.xy.config import UpsampleConfig


class Upsample(nn.Module):
    """One frame of width 4 D becomes four tokens of width D."""

    def __init__(self, config: UpsampleConfig) -> None:
        super().__init__()
        self.factor = config.stride
        self.up_conv = SpreadDeconv(
            config.d_model * self.factor, config.d_model, self.factor, bias=False
        )

    def forward(self, frames: Tensor, layout: Layout) -> Tensor:
        """Frame rows to token rows; `layout` is that of the frames."""
        return split_steps(layout.rowwise(self.up_conv, frames), self.factor)
