"""The losses of frozen networks that listen to a reconstruction, as a recipe wants them."""

from torch import Tensor, nn

from xy_codec.errors import ConfigError
from xy_codec.training.recipe import LossConfig
from xy_codec.training.recogniser_features import load_recogniser
from xy_codec.training.speaker_features import RATE_HZ, load_speaker_encoder
from xy_codec.xy.config import CodecConfig


class ListeningLosses(nn.Module):
    """Distances `[B]` by the names of their weights in `LossConfig`; empty where none is wanted."""

    def __init__(self, losses: LossConfig, config: CodecConfig) -> None:
        super().__init__()
        self.networks = nn.ModuleDict()
        if losses.recogniser_features:
            self.networks["recogniser_features"] = load_recogniser(
                losses.recogniser, config.semantic_encoder_kwargs, config.feature_extractor_kwargs
            )
        if losses.speaker_features:
            self.networks["speaker_features"] = load_speaker_encoder(losses.speaker_encoder)
        if self.networks and config.output_sample_rate != RATE_HZ:
            raise ConfigError(
                f"The codec's output has {config.output_sample_rate} Hz; expected {RATE_HZ} for "
                f"{', '.join(self.networks)} in `losses`. Set their weights to 0."
            )

    def forward(self, made: Tensor, target: Tensor, lengths: Tensor) -> dict[str, Tensor]:
        """How far `[B, L]` waves are apart, clip by clip; what follows `lengths[i]` is ignored."""
        return {name: each(made, target, lengths) for name, each in self.networks.items()}
