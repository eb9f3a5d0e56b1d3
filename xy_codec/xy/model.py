"""XY-Tokenizer as the paper's figure 2 draws it, under the attribute names of its releases.

                   ┌─ semantic encoder ─ adapter ─┐
    wave ─ log-mel ┤                              ├ adapter ─ downsample ─ quantizer ─ codes
                   └─ acoustic encoder ───────────┘

    codes ─ quantizer ─ adapter ─ upsample ─ acoustic decoder ─ vocoder ─ wave

Rates: log-mel and vocoder 100 Hz, encoders and decoder 50 Hz, quantizer and codes 12.5 Hz.
A batch is padded at the end; `lengths` say where each clip ends, None that all fill the batch.
Clips are at most 30 s long; the codec of `load_codec` cuts longer ones into windows.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xy_codec.errors import AudioError
from xy_codec.xy.ablation_vocoders import UpsamplingVocoder
from xy_codec.xy.adapter import Adapter
from xy_codec.xy.config import CodecConfig, UpsamplingConfig
from xy_codec.xy.decoder import AcousticDecoder
from xy_codec.xy.downsample import Downsample
from xy_codec.xy.encoder import Encoder
from xy_codec.xy.mel import LogMel
from xy_codec.xy.quantizer import ResidualQuantizer
from xy_codec.xy.upsample import Upsample
from xy_codec.xy.vocoder import Vocoder


class XYTokenizer(nn.Module):
    """Waveforms to codes and back; B clips, L samples, T frames, K codebooks."""

    def __init__(self, config: CodecConfig) -> None:
        super().__init__()
        self.config = config
        self.mel = LogMel(config.feature_extractor_kwargs)
        self.semantic_encoder = Encoder(config.semantic_encoder_kwargs)
        self.semantic_encoder_adapter = Adapter(config.semantic_encoder_adapter_kwargs)
        self.acoustic_encoder = Encoder(config.acoustic_encoder_kwargs)
        self.pre_rvq_adapter = Adapter(config.pre_rvq_adapter_kwargs)
        self.downsample = Downsample(config.downsample_kwargs)
        self.quantizer = ResidualQuantizer(config.quantizer_kwargs)
        self.post_rvq_adapter = Adapter(config.post_rvq_adapter_kwargs)
        self.upsample = Upsample(config.upsample_kwargs)
        self.acoustic_decoder = AcousticDecoder(config.acoustic_decoder_kwargs)
        vocoder = config.vocos_kwargs
        self.vocos: Vocoder | UpsamplingVocoder = (
            UpsamplingVocoder(vocoder)
            if isinstance(vocoder, UpsamplingConfig)
            else Vocoder(vocoder)
        )

    def forward(self, waves: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Encode and decode waves `[B, L]`; the samples after the last whole frame are lost."""
        frames = None if lengths is None else lengths // self.config.encoder_downsample_rate
        return self.decode(self.encode(waves, lengths), frames)

    def encode(self, waves: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Waves `[B, L]` to codes `[B, K, T]`; a clip has a code for each whole frame (80 ms)."""
        num_samples = waves.shape[1]
        if lengths is None:
            lengths = torch.full((len(waves),), num_samples, device=waves.device)
        tokens = -(-lengths // self.mel.hop_length) // 2
        codes = self.quantizer.encode(self.embed(self.log_mel(waves), tokens))
        return codes[..., : num_samples // self.config.encoder_downsample_rate]

    def decode(self, codes: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Codes `[B, K', T]` of the first K' codebooks to waves; `lengths` are in frames."""
        return self.reconstruct(self.quantizer.decode(codes), lengths)

    def log_mel(self, waves: Tensor) -> Tensor:
        """Log-mel `[B, M, 80]` of waves with as much silence behind them as the model reads."""
        padded = self.mel.num_frames(waves.shape[1]) * self.mel.hop_length
        if waves.shape[1] > padded:
            raise AudioError(
                f"Waves have {waves.shape[1]} samples; expected at most {padded}, 30 s. Cut them, "
                "or use the codec of `load_codec`, which does."
            )
        mel: Tensor = self.mel(F.pad(waves, (0, padded - waves.shape[1])))
        return mel

    def embed(self, mel: Tensor, lengths: Tensor | None) -> Tensor:
        """Log-mel `[B, 8 T, 80]` to the frames `[B, T, D]` to be coded; `lengths` in tokens."""
        semantic = self.semantic_encoder_adapter(self.semantic_encoder(mel, lengths), lengths)
        acoustic = self.acoustic_encoder(mel, lengths)
        both = torch.cat((semantic, acoustic), dim=-1)
        frames: Tensor = self.downsample(self.pre_rvq_adapter(both, lengths))
        return frames

    def reconstruct(self, frames: Tensor, lengths: Tensor | None) -> Tensor:
        """Decoded frames `[B, T, D]`, of which clip i has `lengths[i]`, to waves."""
        tokens, features = (
            None if lengths is None else lengths * rate
            for rate in (self.upsample.factor, 2 * self.upsample.factor)
        )
        spread = self.upsample(self.post_rvq_adapter(frames, lengths))
        waves: Tensor = self.vocos(self.acoustic_decoder(spread, tokens), features)
        return waves
