"""The paralinguistic branch: how a clip sounds, as one vector from the middle of its log-mel."""

from collections.abc import Sequence
from itertools import pairwise
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xy_codec.blocks.centred_conv import convolve_inside
from xy_codec.secousti.config import CodecConfig

# Frames of log-mel that the branch reads, 3.5 s.
SLICE_FRAMES = 300


class SqueezeExcite(nn.Module):
    """Channels weighted by what they hold on average over time, added to themselves."""

    def __init__(self, width: int, squeezed: int) -> None:
        super().__init__()
        self.squeeze = nn.Linear(width, squeezed, bias=False)
        self.excite = nn.Linear(squeezed, width, bias=False)

    def forward(self, steps: Tensor) -> Tensor:
        """Weight steps `[B, C, T]`."""
        return steps + steps * self.weights(steps.mean(-1))[..., None]

    def weights(self, mean: Tensor) -> Tensor:
        """The weight of each channel, from the means `[.., C]` of them all."""
        weights: Tensor = self.excite(F.relu(self.squeeze(mean))).sigmoid()
        return weights


class ParalinguisticEncoder(nn.Module):
    """Log-mel to the last state of a recurrent layer, and that to the vector the decoder adds.

    The vector is a linear function of the state, so that a clip's side values are the state.
    """

    def __init__(self, config: CodecConfig) -> None:
        super().__init__()
        widths = config.paralinguistic_widths
        self.convs = nn.ModuleList(
            nn.Conv1d(width_in, width_out, 3, padding=1)
            for width_in, width_out in pairwise((config.num_mels, *widths))
        )
        self.norms = nn.ModuleList(nn.BatchNorm1d(width) for width in widths)
        self.squeeze_excite = SqueezeExcite(widths[-1], config.squeezed_width)
        self.gru = nn.GRU(widths[-1], config.state_width, batch_first=True)
        self.to_vector = nn.Linear(config.state_width, config.width)

    def forward(self, mel: Tensor) -> Tensor:
        """Log-mel `[B, M, T]` of clips of one length to states `[B, H]`."""
        steps = self.convolve(self.middle_of(mel))
        _, last = self.gru(self.squeeze_excite(steps).transpose(1, 2))
        state: Tensor = last[0]
        return state

    def middle_of(self, mel: Tensor) -> Tensor:
        """The frames of a log-mel `[B, M, T]` that the branch reads."""
        return mel[..., middle(mel.shape[-1])]

    def of_padded(self, mels: Tensor, lengths: Tensor, *, as_one: bool = False) -> Tensor:
        """States `[N, H]` of log-mels `[N, 300, M]`, of which the first frames are a clip's own.

        With a constant N every product has one shape, and a clip's bits are its own.

        Args:
            as_one: run the recurrent layer as one operation of ours, the same for every device.
        """
        count, most, _ = mels.shape
        # A step of zeros behind each clip keeps the convolutions from reading the next.
        outside = torch.arange(most + 1, device=mels.device) >= lengths[:, None]
        outside = outside.view(-1, 1)
        steps = F.pad(mels, (0, 0, 0, 1)).flatten(0, 1).masked_fill(outside, 0.0)
        for conv, norm in zip(self.convs, self.norms, strict=True):
            steps = norm(convolve_inside(cast(nn.Conv1d, conv), steps, outside))
            steps = F.relu(steps).masked_fill(outside, 0.0)
        steps = steps.view(count, most + 1, -1)[:, :most]
        weights = self.squeeze_excite.weights(steps.sum(1) / lengths[:, None])
        weighted = steps + steps * weights[:, None]
        if as_one:
            states = run_recurrent(weighted, self.gru.all_weights[0])
        else:
            states, _ = self.gru(weighted)
        last: Tensor = states[torch.arange(count, device=mels.device), lengths - 1]
        return last

    def convolve(self, steps: Tensor) -> Tensor:
        """The convolutions over frames `[B, M, T]`."""
        for conv, norm in zip(self.convs, self.norms, strict=True):
            steps = F.relu(norm(conv(steps)))
        return steps


@torch.library.custom_op("xytok::run_recurrent", mutates_args=())
def run_recurrent(steps: Tensor, weights: Sequence[Tensor]) -> Tensor:
    """The states `[B, T, H]` of a GRU of one layer over steps `[B, T, D]`.

    Torch's own is a step after the other, and another operation on each kind of device.
    """
    start = steps.new_zeros(1, len(steps), weights[1].shape[1])
    states, _ = torch.gru(
        steps, start, list(weights), has_biases=True, num_layers=1, dropout=0.0, train=False,
        bidirectional=False, batch_first=True,
    )  # fmt: skip
    return states


@run_recurrent.register_fake
def _(steps: Tensor, weights: Sequence[Tensor]) -> Tensor:
    return steps.new_empty(*steps.shape[:2], weights[1].shape[1])


def middle(num_frames: int) -> slice:
    """The frames that the branch reads of a clip.

    As in the release, a start before the clip counts from its end: of 101 frames all but the
    first are read, of 250 the last 25, of 299 the last one.
    """
    half = SLICE_FRAMES // 2
    return slice(num_frames // 2 - half, num_frames // 2 + half)
