"""MOSS-Audio-Tokenizer as its paper draws it, under the attribute names of its release.

    wave ─ patch ─ transformer ─ patch ─ … ─ transformer ─ quantizer ─ codes

    codes ─ quantizer ─ transformer ─ unpatch ─ … ─ transformer ─ unpatch ─ wave

Rates of the release: 24 kHz, then transformers at 100, 50, 25 and 12.5 Hz, where the codes are. All
is causal: a batch is padded at the end with anything, and the results behind a clip's end are not
its own. The codec of `load_codec` runs the same modules over packs.
"""

from torch import Tensor, nn

from xy_codec.moss.config import CodecConfig, PatchConfig, Stage
from xy_codec.moss.patch import Patch, Unpatch
from xy_codec.moss.quantizer import ResidualQuantizer
from xy_codec.moss.transformer import ProjectedTransformer


class MossAudioTokenizer(nn.Module):
    """Waveforms to codes and back; B clips, L samples, T frames, K codebooks."""

    def __init__(self, config: CodecConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = nn.ModuleList(_stage(stage, Patch) for stage in config.encoder)
        self.quantizer = ResidualQuantizer(config.quantizer)
        self.decoder = nn.ModuleList(_stage(stage, Unpatch) for stage in config.decoder)

    def forward(self, waves: Tensor) -> Tensor:
        """Encode and decode waves `[B, L]`; the samples after the last whole frame are lost."""
        return self.decode(self.encode(waves))

    def encode(self, waves: Tensor, num_codebooks: int | None = None) -> Tensor:
        """Waves `[B, L]` to codes `[B, K, T]`, one for each whole frame of 80 ms."""
        codes = self.quantizer.encode(self.embed(waves), num_codebooks)
        return codes.transpose(1, 2)

    def decode(self, codes: Tensor) -> Tensor:
        """Codes `[B, K', T]` of the first K' codebooks to waves `[B, L]`."""
        steps = self.quantizer.decode(codes.transpose(1, 2))
        for stage in self.decoder:
            steps = stage(steps)
        return steps.squeeze(-1)

    def embed(self, waves: Tensor) -> Tensor:
        """Waves `[B, L]` to the frames `[B, T, D]` to be coded."""
        hop = self.config.downsample_rate
        steps = waves[:, : waves.shape[1] // hop * hop].unsqueeze(-1)
        for stage in self.encoder:
            steps = stage(steps)
        return steps


def _stage(config: Stage, patch: type[Patch] | type[Unpatch]) -> nn.Module:
    if isinstance(config, PatchConfig):
        return patch(config.patch_size)
    return ProjectedTransformer(config)
