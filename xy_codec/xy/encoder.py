"""The encoder that turns log-mel frames at 100 Hz into tokens at 50 Hz."""

import torch
import torch.nn.functional as F
from torch import Tensor

from xy_codec.engine.layout import Layout, merge_steps
from xy_codec.engine.product import TapsConv
from xy_codec.xy.config import EncoderConfig
from xy_codec.xy.transformer import Stack


class Encoder(Stack):
    """Two convolutions, the second of stride 2, and a transformer; both encoders are this."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__(
            config.d_model,
            config.encoder_attention_heads,
            config.encoder_ffn_dim,
            config.encoder_layers,
            config.num_positions,
        )
        self.conv1 = TapsConv(config.num_mel_bins, config.d_model, 3)
        self.conv2 = TapsConv(config.d_model, config.d_model, 3)

    def forward(self, mel: Tensor, layout: Layout) -> Tensor:
        """Mel rows at 100 Hz to token rows at 50 Hz; `layout` is that of the tokens.

        The convolutions are not masked: the last token of a clip reads one frame behind it.
        """
        frames = layout.faster(2)
        taps = torch.cat((frames.shift(mel, 1), mel, frames.shift(mel, -1)), dim=-1)
        hidden = frames.rowwise(self._conv1, taps)
        pairs = merge_steps(hidden, 2)
        before = layout.shift(pairs[..., pairs.shape[-1] // 2 :], 1)
        tokens = layout.rowwise(self._conv2, torch.cat((before, pairs), dim=-1))
        return self.run_stack(tokens, layout)

    def _conv1(self, taps: Tensor) -> Tensor:
        return F.gelu(self.conv1(taps))

    def _conv2(self, taps: Tensor) -> Tensor:
        return F.gelu(self.conv2(taps))
