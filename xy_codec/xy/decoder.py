"""The acoustic decoder: tokens at 50 Hz to vocoder features at 100 Hz."""

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor

from xy_codec.engine.layout import Layout, split_steps
from xy_codec.engine.product import SpreadDeconv, TapsDeconv
from xy_codec.xy.config import DecoderConfig
from xy_codec.xy.transformer import Stack


class AcousticDecoder(Stack):
    """A transformer, then two transposed convolutions that look only backwards in time."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__(
            config.d_model,
            config.decoder_attention_heads,
            config.decoder_ffn_dim,
            config.decoder_layers,
            config.num_positions,
        )
        self.deconv1 = SpreadDeconv(config.d_model, config.d_model, 3)
        self.deconv2 = TapsDeconv(config.d_model, config.num_mel_bins, 3)

    def forward(self, tokens: Tensor, layout: Layout) -> Tensor:
        """Token rows to twice as many feature rows; `layout` is that of the tokens."""
        tokens = self.run_stack(tokens, layout)
        current, odd, carried = layout.rowwise(self.deconv1, tokens).chunk(3, dim=-1)
        pairs = torch.cat((current + layout.shift(carried, 1), odd), dim=-1)
        hidden = split_steps(layout.rowwise(self._activate, pairs), 2)
        frames = layout.faster(2)
        taps = torch.cat((hidden, frames.shift(hidden, 1), frames.shift(hidden, 2)), dim=-1)
        return frames.rowwise(self._features, taps)

    def _activate(self, rows: Tensor) -> Tensor:
        bias = cast(Tensor, self.deconv1.bias)
        return F.gelu(rows + bias.repeat(2))

    def _features(self, taps: Tensor) -> Tensor:
        return F.gelu(self.deconv2(taps))
