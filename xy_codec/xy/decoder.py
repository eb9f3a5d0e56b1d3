"""The acoustic decoder: tokens at 50 Hz to vocoder features at 100 Hz."""

import torch.nn.functional as F
from torch import Tensor, nn

from xy_codec.xy.config import DecoderConfig
from xy_codec.xy.transformer import Transformer


class AcousticDecoder(Transformer):
    """A transformer, then two transposed convolutions that look only backwards in time."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__(
            config.d_model,
            config.decoder_attention_heads,
            config.decoder_ffn_dim,
            config.decoder_layers,
            config.num_positions,
        )
        self.deconv1 = nn.ConvTranspose1d(config.d_model, config.d_model, 3, stride=2)
        self.deconv2 = nn.ConvTranspose1d(config.d_model, config.num_mel_bins, 3)

    def forward(self, tokens: Tensor, lengths: Tensor | None) -> Tensor:
        """Tokens `[B, T, D]`, of which clip i has `lengths[i]`, to features `[B, 2 T, M]`."""
        hidden = super().forward(tokens, lengths).transpose(1, 2)
        features = F.gelu(self.deconv2(F.gelu(self.deconv1(hidden))))
        # The convolutions give three steps more than twice the tokens, all at the end.
        return features[..., : 2 * tokens.shape[1]].transpose(1, 2)
