"""How far a reconstruction is from its original for a frozen recogniser: Whisper's encoder."""

from collections.abc import Mapping
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xy_codec.training.whisper_weights import load_whisper, whisper_encoder_state
from xy_codec.xy.config import EncoderConfig, MelConfig
from xy_codec.xy.encoder import Encoder
from xy_codec.xy.mel import LogMel
from xy_codec.xy.padding import valid_steps

# Of the mean spread of a layer's channels: one that hardly moves counts no more than this.
_LEAST_SPREAD = 0.1


class RecogniserFeatures(nn.Module):
    """L1 between the hidden states of two waves, mean over all layers of a frozen encoder.

    Each channel counts relative to its spread over the original, so that the few channels with
    very large values do not decide alone.
    """

    def __init__(self, encoder: Encoder, config: MelConfig) -> None:
        super().__init__()
        self.encoder = encoder.requires_grad_(False)
        self.mel = LogMel(config)

    def forward(self, made: Tensor, target: Tensor, lengths: Tensor) -> Tensor:
        """Distances `[B]` of `[B, L]` waves; what follows `lengths[i]` is ignored."""
        tokens = lengths // (2 * self.mel.hop_length)
        with torch.no_grad():
            theirs = self.hidden(target, tokens)
        found = [
            _distance(mine.float(), other.float(), tokens)
            for mine, other in zip(self.hidden(made, tokens), theirs, strict=True)
        ]
        return torch.stack(found).mean(0)

    def hidden(self, waves: Tensor, tokens: Tensor) -> list[Tensor]:
        """What each layer gives, `[B, T, D]`, the last one normalised as it is passed on."""
        with torch.autocast(waves.device.type, enabled=False):
            mel = self.mel(waves.float())
        encoder, states = self.encoder, []
        steps = F.gelu(encoder.conv2(F.gelu(encoder.conv1(mel.transpose(1, 2))))).transpose(1, 2)
        steps = steps + encoder.positional_embedding[: steps.shape[1]]
        valid = valid_steps(tokens, steps.shape[1])
        for block in encoder.layers:
            steps = block(steps, valid)
            states.append(steps)
        states[-1] = encoder.layer_norm(steps)
        return states


def load_recogniser(source: str, like: EncoderConfig, mel: MelConfig) -> RecogniserFeatures:
    """All layers of a Whisper that is as wide as the codec's semantic encoder."""
    state = whisper_encoder_state(source)
    encoder = Encoder(replace(like, encoder_layers=count_layers(state)))
    load_whisper(encoder, state)
    return RecogniserFeatures(encoder, mel)


def count_layers(state: Mapping[str, Tensor]) -> int:
    """How many layers an encoder's weights have."""
    return len({name.split(".")[1] for name in state if name.startswith("layers.")})


def _distance(mine: Tensor, theirs: Tensor, tokens: Tensor) -> Tensor:
    valid = (torch.arange(theirs.shape[1], device=theirs.device) < tokens[:, None])[..., None]
    count = tokens.clamp(min=1)[:, None]
    mean = (theirs * valid).sum(1) / count
    spread = (((theirs - mean[:, None]) * valid).square().sum(1) / count).sqrt()
    spread = spread + _LEAST_SPREAD * spread.mean(1, keepdim=True) + 1e-6
    distance = ((mine - theirs).abs() * valid).sum(1) / count / spread
    return distance.mean(1)
