"""The three discriminators of post-training: by period, by scale, and on spectrograms.

At the default widths they are SpeechTokenizer's. Each returns a score map and feature maps.
"""

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm, weight_norm

from xy_codec.training.recipe import DiscriminatorConfig

Norm = Callable[[nn.Module], nn.Module]


@dataclass(frozen=True, slots=True)
class Judgement:
    """The score maps of one sub-discriminator for a batch, and the feature maps to match."""

    scores: Tensor
    features: tuple[Tensor, ...]


class ConvolutionChain(nn.Module):
    """Convolutions with leaky rectifiers of a `slope`, and a last one to scores."""

    def __init__(
        self, layers: list[nn.Module], last: nn.Module, slope: float, norm: Norm = weight_norm
    ) -> None:
        super().__init__()
        self.slope = slope
        self.layers = nn.ModuleList(norm(layer) for layer in layers)
        self.last = norm(last)

    def forward(self, maps: Tensor) -> Judgement:
        """Judge feature maps."""
        features = []
        for layer in self.layers:
            maps = F.leaky_relu(layer(maps), self.slope)
            features.append(maps)
        return Judgement(self.last(maps), tuple(features))


def _with_scores(judged: Judgement) -> Judgement:
    """The same, with the scores as one more map to match."""
    return Judgement(judged.scores, (*judged.features, judged.scores))


class PeriodDiscriminator(nn.Module):
    """Folds the waveform, so that samples a period apart lie side by side in its convolutions."""

    def __init__(self, period: int, width: int) -> None:
        super().__init__()
        self.period = period
        widths = [1, width, 4 * width, 16 * width, 32 * width]
        layers: list[nn.Module] = [
            nn.Conv2d(before, after, (5, 1), (3, 1), (2, 0))
            for before, after in itertools.pairwise(widths)
        ]
        layers.append(nn.Conv2d(widths[-1], widths[-1], (5, 1), padding=(2, 0)))
        last = nn.Conv2d(widths[-1], 1, (3, 1), padding=(1, 0))
        self.chain = ConvolutionChain(layers, last, 0.1)

    def forward(self, waves: Tensor) -> Judgement:
        """Judge `[B, L]` waves."""
        short = -waves.shape[1] % self.period
        padded = F.pad(waves, (0, short), "reflect")
        return _with_scores(self.chain(padded.view(len(waves), 1, -1, self.period)))


class ScaleDiscriminator(nn.Module):
    """Sees the waveform through long grouped filters, halved in rate `halvings` times before.

    The one that sees it at its full rate is held by spectral norm.
    """

    def __init__(self, halvings: int, width: int) -> None:
        super().__init__()
        self.halve = nn.AvgPool1d(4, 2, padding=2)
        self.halvings = halvings
        widths = [width, width, 2 * width, 4 * width, 8 * width, 8 * width]
        layers: list[nn.Module] = [nn.Conv1d(1, width, 15, padding=7)]
        layers += [
            nn.Conv1d(before, after, 41, stride, 20, groups=math.gcd(groups, before))
            for (before, after), stride, groups in zip(
                itertools.pairwise(widths), (2, 2, 4, 4, 1), (4, 16, 16, 16, 16), strict=True
            )
        ]
        layers.append(nn.Conv1d(widths[-1], widths[-1], 5, padding=2))
        last = nn.Conv1d(widths[-1], 1, 3, padding=1)
        norm = weight_norm if halvings else spectral_norm
        self.chain = ConvolutionChain(layers, last, 0.1, norm)

    def forward(self, waves: Tensor) -> Judgement:
        """Judge `[B, L]` waves."""
        maps = waves[:, None]
        for _ in range(self.halvings):
            maps = self.halve(maps)
        return _with_scores(self.chain(maps))


class SpectrogramDiscriminator(nn.Module):
    """Sees real and imaginary parts of an STFT; its first convolution has no norm."""

    taper: Tensor

    def __init__(self, window: int, width: int) -> None:
        super().__init__()
        self.window = window
        self.register_buffer("taper", torch.hann_window(window), persistent=False)
        self.first = nn.Conv2d(2, width, (3, 9), padding=(1, 4))
        layers: list[nn.Module] = [
            nn.Conv2d(width, width, (3, 9), (1, 2), (dilation, 4), (dilation, 1))
            for dilation in (1, 2, 4)
        ]
        layers.append(nn.Conv2d(width, width, 3, padding=1))
        self.chain = ConvolutionChain(layers, nn.Conv2d(width, 1, 3, padding=1), 0.2)

    def forward(self, waves: Tensor) -> Judgement:
        """Judge `[B, L]` waves."""
        spectrum = torch.stft(
            waves.float(),
            self.window,
            self.window // 4,
            window=self.taper,
            center=False,
            return_complex=True,
        )
        parts = torch.view_as_real(spectrum / self.taper.square().sum().sqrt())
        seen = F.leaky_relu(self.first(parts.permute(0, 3, 2, 1)), self.chain.slope)
        judged: Judgement = self.chain(seen)
        return Judgement(judged.scores, (seen, *judged.features))


class Discriminators(nn.Module):
    """The discriminators of all three kinds that a recipe sizes."""

    def __init__(self, config: DiscriminatorConfig) -> None:
        super().__init__()
        parts: list[nn.Module] = [
            PeriodDiscriminator(period, config.period_width) for period in config.periods
        ]
        parts += [
            ScaleDiscriminator(scale, config.scale_width) for scale in range(config.num_scales)
        ]
        parts += [
            SpectrogramDiscriminator(window, config.stft_width) for window in config.stft_windows
        ]
        self.parts = nn.ModuleList(parts)

    def forward(self, waves: Tensor) -> list[Judgement]:
        """Judge `[B, L]` waves by every sub-discriminator."""
        return [part(waves) for part in self.parts]
