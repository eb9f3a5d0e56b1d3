"""The encoder that turns log-mel frames at 100 Hz into tokens at 50 Hz."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xy_codec.config import EncoderConfig
from xy_codec.layout import Layout, merge_steps
from xy_codec.transformer import Stack


class Encoder(Stack):
    """Two convolutions and a transformer; the semantic and the acoustic encoder are both this."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__(
            config.d_model,
            config.encoder_attention_heads,
            config.encoder_ffn_dim,
            config.encoder_layers,
            config.num_positions,
        )
        self.conv1 = nn.Conv1d(config.num_mel_bins, config.d_model, 3, padding=1)
        self.conv2 = nn.Conv1d(config.d_model, config.d_model, 3, stride=2, padding=1)

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
        return F.gelu(F.linear(taps, taps_weight(self.conv1.weight), self.conv1.bias))

    def _conv2(self, taps: Tensor) -> Tensor:
        return F.gelu(F.linear(taps, taps_weight(self.conv2.weight), self.conv2.bias))


def taps_weight(weight: Tensor) -> Tensor:
    """A convolution's `[out, in, k]` as the matrix `[out, k * in]` for neighbours side by side."""
    return weight.transpose(1, 2).reshape(weight.shape[0], -1)
