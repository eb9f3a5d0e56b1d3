"""SecoustiCodec as its authors draw it.

                         ┌─ transformer ─ mean ─ quantizer ─ tokens
    wave ─ log-mel ─ SEANet ┤
              │          └─ transformer ─ acoustic embedding (no code: what decoding it gives is
              │                           the best that tokens could reach)
              └─ paralinguistic branch ─ state, the clip's side values

    tokens ─ quantizer ─ (+ vector of the state) ─ connector ─┐
                               acoustic embedding ────────────┴ transformer ─ SEANet ─ log-mel

    log-mel ─ vocoder ─ wave

Rates: log-mel 86.13 Hz; transformers, quantizer and tokens 21.53 or 86.13 Hz. All but the
paralinguistic branch and the vocoder looks backwards only. The clips of a batch have one length.
"""

from torch import Tensor, nn

from xy_codec.blocks.causal_transformer import CausalTransformer
from xy_codec.secousti.config import ATTENTION_WINDOW, CodecConfig
from xy_codec.secousti.mel import LogMel
from xy_codec.secousti.paralinguistic import ParalinguisticEncoder
from xy_codec.secousti.quantizer import ScalarQuantizer
from xy_codec.secousti.seanet import SeanetDecoder, SeanetEncoder
from xy_codec.secousti.vocoder import Vocoder


class SecoustiModel(nn.Module):
    """Waves to tokens and back; B clips, L samples, M mels, T tokens, D width."""

    def __init__(self, config: CodecConfig) -> None:
        super().__init__()
        self.config = config
        self.mel = LogMel(config)
        self.encoder = SeanetEncoder(config)
        self.semantic_transformer = _transformer(config)
        self.semantic_mean = nn.Linear(config.width, config.width)
        self.quantizer = ScalarQuantizer(config)
        self.acoustic_transformer = _transformer(config)
        self.paralinguistic_encoder = ParalinguisticEncoder(config)
        self.connector = _transformer(config)
        self.decoder_transformer = _transformer(config)
        self.decoder = SeanetDecoder(config)
        self.vocoder = Vocoder(config)

    def forward(self, waves: Tensor) -> Tensor:
        """Encode and decode waves `[B, L]`, without noise."""
        return self.decode(*self.encode(waves))

    def encode(self, waves: Tensor) -> tuple[Tensor, Tensor]:
        """Waves `[B, L]` to tokens `[B, T]` and states `[B, H]`."""
        mel = self.mel(waves)
        steps = self.semantic_transformer(self.encoder(mel).transpose(1, 2))
        return self.quantizer.encode(self.semantic_mean(steps)), self.paralinguistic_encoder(mel)

    def decode(
        self,
        tokens: Tensor,
        states: Tensor,
        phases: Tensor | None = None,
        noise: Tensor | None = None,
    ) -> Tensor:
        """Tokens `[B, T]` and states `[B, H]` to waves, with the vocoder's noise if given."""
        vectors = self.paralinguistic_encoder.to_vector(states)
        waves: Tensor = self.vocoder(self.decode_mel(tokens, vectors), phases, noise)
        return waves

    def decode_mel(self, tokens: Tensor, vectors: Tensor) -> Tensor:
        """Tokens `[B, T]` and vectors `[B, D]` to log-mel `[B, M, T * frames a token]`."""
        return self.reconstruct(self.connector(self.quantizer.decode(tokens) + vectors[:, None]))

    def embed_acoustic(self, mel: Tensor) -> Tensor:
        """Log-mel to the acoustic embedding `[B, T, D]`."""
        embedding: Tensor = self.acoustic_transformer(self.encoder(mel).transpose(1, 2))
        return embedding

    def reconstruct(self, steps: Tensor) -> Tensor:
        """Steps `[B, T, D]` of the connector, or an acoustic embedding, to log-mel."""
        mel: Tensor = self.decoder(self.decoder_transformer(steps).transpose(1, 2))
        return mel


def _transformer(config: CodecConfig) -> CausalTransformer:
    return CausalTransformer(
        config.width, config.num_heads, config.hidden_width, config.num_layers, ATTENTION_WINDOW
    )
