"""HiFT: log-mel frames to samples, by filtering the harmonics of a predicted pitch."""

from collections.abc import Iterator
from itertools import pairwise
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xy_codec.secousti.config import SPECTRUM_HOP, SPECTRUM_SIZE, CodecConfig
from xy_codec.secousti.source import HarmonicSource

SLOPE = 0.1
LAST_SLOPE = 0.01

_KERNELS = (3, 7, 11)
_SOURCE_KERNELS = (7, 11)
_DILATIONS = (1, 3, 5)
_MAX_MAGNITUDE = 100.0
_MAX_SAMPLE = 0.99
_ALMOST_ZERO = 1e-9


class Snake(nn.Module):
    """x + sin²(a x) / a, with a slope of its own for each channel."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.ones(width))

    def forward(self, steps: Tensor) -> Tensor:
        """Activate steps `[B, C, T]`."""
        alpha = self.alpha[:, None]
        return steps + (alpha * steps).sin().square() / (alpha + _ALMOST_ZERO)


class ResidualBlock(nn.Module):
    """Three times: x + a convolution of a wider and wider dilated convolution of x."""

    def __init__(self, width: int, kernel: int) -> None:
        super().__init__()
        self.convs1 = nn.ModuleList(
            nn.Conv1d(width, width, kernel, dilation=dilation, padding="same")
            for dilation in _DILATIONS
        )
        self.convs2 = nn.ModuleList(
            nn.Conv1d(width, width, kernel, padding="same") for _ in _DILATIONS
        )
        self.activations1 = nn.ModuleList(Snake(width) for _ in _DILATIONS)
        self.activations2 = nn.ModuleList(Snake(width) for _ in _DILATIONS)

    def forward(self, steps: Tensor) -> Tensor:
        """Refine steps `[B, C, T]`."""
        for activation1, conv1, activation2, conv2 in self.layers():
            steps = steps + conv2(activation2(conv1(activation1(steps))))
        return steps

    def layers(self) -> Iterator[tuple[Snake, nn.Conv1d, Snake, nn.Conv1d]]:
        """What is done three times."""
        parts = (self.activations1, self.convs1, self.activations2, self.convs2)
        return cast("Iterator[tuple[Snake, nn.Conv1d, Snake, nn.Conv1d]]", zip(*parts, strict=True))


class PitchPredictor(nn.Module):
    """Log-mel to the pitch of each frame in Hz."""

    def __init__(self, num_mels: int, width: int) -> None:
        super().__init__()
        widths = (num_mels, *(width,) * 5)
        self.convs = nn.ModuleList(
            nn.Conv1d(width_in, width_out, 3, padding=1) for width_in, width_out in pairwise(widths)
        )
        self.classifier = nn.Linear(width, 1)

    def forward(self, mel: Tensor) -> Tensor:
        """Log-mel `[B, M, T]` to pitches `[B, T]`."""
        for conv in self.convs:
            mel = F.elu(conv(mel))
        pitch: Tensor = self.classifier(mel.transpose(1, 2)).squeeze(-1).abs()
        return pitch


class Vocoder(nn.Module):
    """Log-mel `[B, M, T]` to samples `[B, 256 T]`."""

    window: Tensor

    def __init__(self, config: CodecConfig) -> None:
        super().__init__()
        width, (first, second) = config.vocoder_width, config.vocoder_strides
        bins = SPECTRUM_SIZE + 2
        self.pitch = PitchPredictor(config.num_mels, config.pitch_width)
        self.source = HarmonicSource()
        self.conv_in = nn.Conv1d(config.num_mels, width, 7, padding=3)
        self.ups = nn.ModuleList(
            nn.ConvTranspose1d(size, size // 2, 2 * stride, stride, padding=stride // 2)
            for size, stride in ((width, first), (width // 2, second))
        )
        self.source_downs = nn.ModuleList(
            (
                nn.Conv1d(bins, width // 2, 2 * second, second, padding=second // 2),
                nn.Conv1d(bins, width // 4, 1),
            )
        )
        self.source_blocks = nn.ModuleList(
            ResidualBlock(size, kernel)
            for size, kernel in zip((width // 2, width // 4), _SOURCE_KERNELS, strict=True)
        )
        self.blocks = nn.ModuleList(
            nn.ModuleList(ResidualBlock(size, kernel) for kernel in _KERNELS)
            for size in (width // 2, width // 4)
        )
        self.conv_out = nn.Conv1d(width // 4, bins, 7, padding=3)
        window = torch.hann_window(SPECTRUM_SIZE, device="cpu")
        self.register_buffer("window", window, persistent=False)

    def forward(
        self, mel: Tensor, phases: Tensor | None = None, noise: Tensor | None = None
    ) -> Tensor:
        """Samples of a log-mel, with the noise of its harmonics: none unless it is given."""
        return self.filter(mel, self.spectrum(self.source(self.pitch(mel), phases, noise)))

    def spectrum(self, source: Tensor) -> Tensor:
        """A source `[B, 256 T]` as `[B, 18, 64 T + 1]`: real parts, then imaginary ones."""
        spectrum = torch.stft(
            source, SPECTRUM_SIZE, SPECTRUM_HOP, window=self.window, return_complex=True
        )
        return torch.cat((spectrum.real, spectrum.imag), dim=1)

    def filter(self, mel: Tensor, spectrum: Tensor) -> Tensor:
        """Log-mel `[B, M, T]` and the spectrum of its source to samples `[B, 256 T]`."""
        return self.to_samples(self.logits(mel, spectrum))

    def logits(self, mel: Tensor, spectrum: Tensor) -> Tensor:
        """Log magnitudes and phases `[B, 18, 64 T + 1]`."""
        steps = self.conv_in(mel)
        for level, up in enumerate(self.ups):
            steps = up(F.leaky_relu(steps, SLOPE))
            if level == 1:
                # The spectrum has a step more than the levels make: one at either end.
                steps = F.pad(steps, (1, 0), mode="reflect")
            source = self.source_blocks[level](self.source_downs[level](spectrum))
            steps = steps + source
            refined = [block(steps) for block in self.blocks_of(level)]
            steps = torch.stack(refined).mean(0)
        logits: Tensor = self.conv_out(F.leaky_relu(steps, LAST_SLOPE))
        return logits

    def to_samples(self, logits: Tensor) -> Tensor:
        """Log magnitudes and phases `[B, 18, 64 T + 1]` to samples `[B, 256 T]`."""
        spectrum = spectrum_of(logits, 1)
        return clipped(torch.istft(spectrum, SPECTRUM_SIZE, SPECTRUM_HOP, window=self.window))

    def blocks_of(self, level: int) -> nn.ModuleList:
        """The residual blocks of a level, whose results are averaged."""
        return cast(nn.ModuleList, self.blocks[level])


def spectrum_of(logits: Tensor, channels: int) -> Tensor:
    """Log magnitudes and phases, side by side on the axis `channels`, as complex numbers."""
    log_magnitude, phase = logits.chunk(2, dim=channels)
    magnitude = log_magnitude.exp().clamp(max=_MAX_MAGNITUDE)
    phase = phase.sin()
    return torch.complex(magnitude * phase.cos(), magnitude * phase.sin())


def clipped(samples: Tensor) -> Tensor:
    """Samples, none beyond the largest that the vocoder gives."""
    return samples.clamp(-_MAX_SAMPLE, _MAX_SAMPLE)
