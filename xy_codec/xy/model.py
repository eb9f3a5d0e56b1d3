"""The whole tokenizer as one module, with the attribute names of the released checkpoints."""

import torch
from torch import Tensor, nn

from xy_codec.engine.layout import Layout
from xy_codec.engine.product import freeze_products
from xy_codec.xy.adapter import Adapter
from xy_codec.xy.config import CodecConfig
from xy_codec.xy.decoder import AcousticDecoder
from xy_codec.xy.downsample import Downsample
from xy_codec.xy.encoder import Encoder
from xy_codec.xy.mel import LogMel
from xy_codec.xy.quantizer import ResidualQuantizer
from xy_codec.xy.transformer import Projections
from xy_codec.xy.upsample import Upsample
from xy_codec.xy.vocoder import Vocoder


class XYTokenizer(nn.Module):
    """Encoder, quantiser and decoder; every method takes rows and the layout they lie in.

    With `PaddedLayout` rows are `[B, T, D]` and gradients flow; with `PackedLayout` they are
    `[rows, D]`. Layouts passed in are those of the 50 Hz tokens.
    """

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
        self.vocos = Vocoder(config.vocos_kwargs)

    def freeze(self, dtype: torch.dtype = torch.float32) -> None:
        """Make the model fit for inference only.

        The products of everything before the quantiser run in `dtype`; sums, norms, the quantiser
        and the whole decoder stay in float32.
        """
        encoding = (
            self.semantic_encoder,
            self.semantic_encoder_adapter,
            self.acoustic_encoder,
            self.pre_rvq_adapter,
            self.downsample,
        )
        for module in encoding:
            _freeze_all(module, dtype)
        _freeze_all(self, torch.float32)

    def embed(self, mel: Tensor, tokens: Layout) -> Tensor:
        """Mel rows at 100 Hz to the rows at 12.5 Hz that the quantiser codes."""
        semantic = self.semantic_encoder_adapter(self.semantic_encoder(mel, tokens), tokens)
        both = torch.cat((semantic, self.acoustic_encoder(mel, tokens)), dim=-1)
        frames: Tensor = self.downsample(
            self.pre_rvq_adapter(both, tokens), tokens.slower(self.downsample.factor)
        )
        return frames

    def quantize(self, rows: Tensor, tokens: Layout, num_codebooks: int | None = None) -> Tensor:
        """Rows at 12.5 Hz to indices `[.., K]`."""
        frames = tokens.slower(self.downsample.factor)
        return frames.rowwise(lambda part: self.quantizer.encode(part, num_codebooks), rows)

    def dequantize(self, indices: Tensor, tokens: Layout) -> Tensor:
        """Indices `[.., K']` of the first K' codebooks to rows at 12.5 Hz."""
        return tokens.slower(self.upsample.factor).rowwise(self.quantizer.decode, indices)

    def reconstruct(self, rows: Tensor, tokens: Layout) -> Tensor:
        """Rows at 12.5 Hz to spectrum rows at 100 Hz; `vocos.head.to_samples` finishes them."""
        frames = tokens.slower(self.upsample.factor)
        spread = self.upsample(self.post_rvq_adapter(rows, frames), frames)
        features = self.acoustic_decoder(spread, tokens)
        spectrum: Tensor = self.vocos(features, tokens.faster(2))
        return spectrum


def _freeze_all(module: nn.Module, dtype: torch.dtype) -> None:
    for part in module.modules():
        if isinstance(part, Projections) and part.joined is None:
            part.freeze(dtype)
    freeze_products(module, dtype)
