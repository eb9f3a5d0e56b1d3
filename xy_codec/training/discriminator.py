"""The three discriminators of post-training: by period, by scale, and on spectrograms.

Each returns one score map and the feature maps before it per sub-discriminator.
"""

import itertools
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from xy_codec.training.recipe import DiscriminatorConfig

_SLOPE = 0.1


@dataclass(frozen=True, slots=True)
class Judgement:
    """The score maps of one sub-discriminator for a batch, and the feature maps before them."""

    scores: Tensor
    features: tuple[Tensor, ...]


class ConvolutionChain(nn.Module):
    """Convolutions with leaky rectifiers, and a last one to scores."""

    def __init__(self, layers: list[nn.Module], last: nn.Module) -> None:
        super().__init__()
        self.layers = nn.ModuleList(weight_norm(layer) for layer in layers)
        self.last = weight_norm(last)

    def forward(self, maps: Tensor) -> Judgement:
        """Judge feature maps."""
        features = []
        for layer in self.layers:
            maps = F.leaky_relu(layer(maps), _SLOPE)
            features.append(maps)
        return Judgement(self.last(maps), tuple(features))


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
        self.chain = ConvolutionChain(layers, nn.Conv2d(widths[-1], 1, (3, 1), padding=(1, 0)))

    def forward(self, waves: Tensor) -> Judgement:
        """Judge `[B, L]` waves."""
        short = -waves.shape[1] % self.period
        padded = F.pad(waves, (0, short), "reflect")
        folded: Judgement = self.chain(padded.view(len(waves), 1, -1, self.period))
        return folded


class ScaleDiscriminator(nn.Module):
    """Sees the waveform, averaged down by `factor`, through long grouped filters."""

    def __init__(self, factor: int, width: int) -> None:
        super().__init__()
        self.factor = factor
        layers: list[nn.Module] = [
            nn.Conv1d(1, width, 15, padding=7),
            nn.Conv1d(width, 4 * width, 41, 4, 20, groups=width),
            nn.Conv1d(4 * width, 16 * width, 41, 4, 20, groups=4 * width),
            nn.Conv1d(16 * width, 16 * width, 41, 4, 20, groups=4 * width),
            nn.Conv1d(16 * width, 16 * width, 5, padding=2),
        ]
        self.chain = ConvolutionChain(layers, nn.Conv1d(16 * width, 1, 3, padding=1))

    def forward(self, waves: Tensor) -> Judgement:
        """Judge `[B, L]` waves."""
        averaged = F.avg_pool1d(waves[:, None], self.factor) if self.factor > 1 else waves[:, None]
        judged: Judgement = self.chain(averaged)
        return judged


class SpectrogramDiscriminator(nn.Module):
    """Sees real and imaginary parts of an STFT."""

    taper: Tensor

    def __init__(self, window: int, width: int) -> None:
        super().__init__()
        self.window = window
        self.register_buffer("taper", torch.hann_window(window), persistent=False)
        layers: list[nn.Module] = [nn.Conv2d(2, width, (3, 9), padding=(1, 4))]
        layers += [
            nn.Conv2d(width, width, (3, 9), (1, 2), (dilation, 4), (dilation, 1))
            for dilation in (1, 2, 4)
        ]
        layers.append(nn.Conv2d(width, width, 3, padding=1))
        self.chain = ConvolutionChain(layers, nn.Conv2d(width, 1, 3, padding=1))

    def forward(self, waves: Tensor) -> Judgement:
        """Judge `[B, L]` waves."""
        spectrum = torch.stft(
            waves.float(),
            self.window,
            self.window // 4,
            window=self.taper,
            normalized=True,
            return_complex=True,
        )
        judged: Judgement = self.chain(torch.view_as_real(spectrum).permute(0, 3, 2, 1))
        return judged


class Discriminators(nn.Module):
    """The discriminators of all three kinds that a recipe sizes."""

    def __init__(self, config: DiscriminatorConfig) -> None:
        super().__init__()
        parts: list[nn.Module] = [
            PeriodDiscriminator(period, config.period_width) for period in config.periods
        ]
        parts += [
            ScaleDiscriminator(2**scale, config.scale_width) for scale in range(config.num_scales)
        ]
        parts += [
            SpectrogramDiscriminator(window, config.stft_width) for window in config.stft_windows
        ]
        self.parts = nn.ModuleList(parts)

    def forward(self, waves: Tensor) -> list[Judgement]:
        """Judge `[B, L]` waves by every sub-discriminator."""
        return [part(waves) for part in self.parts]
