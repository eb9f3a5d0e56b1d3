"""The encoder that turns log-mel frames at 100 Hz into tokens at 50 Hz."""

import torch.nn.functional as F
from torch import Tensor, nn

from xy_codec.xy.config import EncoderConfig
from xy_codec.xy.transformer import Transformer


class Encoder(Transformer):
    """Two convolutions, the second of stride 2, and a transformer.

    The semantic and the acoustic encoder are both this, with weights of their own.
    """

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

    def forward(self, mel: Tensor, lengths: Tensor | None) -> Tensor:
        """Log-mel `[B, 2 T, M]` to tokens `[B, T, D]`, of which clip i has `lengths[i]`.

        The convolutions are not masked: the last token of a clip reads one frame behind it.
        """
        hidden = F.gelu(self.conv1(mel.transpose(1, 2)))
        return super().forward(F.gelu(self.conv2(hidden)).transpose(1, 2), lengths)
