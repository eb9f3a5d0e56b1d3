"""The vocoders that the paper compares Vocos with: HiFi-GAN and SEANet, both made of convolutions.

They take the acoustic decoder's features and their lengths as Vocos does. Each level is a factor of
the hop as fast as the one before it and half as wide. Nothing reads beyond a clip's end, so a
clip's samples are the same alone and in a padded batch. Packs run all before them; they themselves
take clip by clip.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xy_codec.xy.config import UpsamplingConfig
from xy_codec.xy.padding import valid_steps

_SLOPE = 0.1
_KERNELS = (3, 7, 11)
_DILATIONS = (1, 3, 5)
_FASTEST = 8  # times as fast as the level before


def factors(hop_size: int) -> list[int]:
    """What makes the hop, each factor as large as can be and at most 8: 160 is 8 * 5 * 4."""
    found = []
    while hop_size > 1:
        found.append(max(each for each in range(1, _FASTEST + 1) if hop_size % each == 0))
        hop_size //= found[-1]
    return found


class ReceptiveField(nn.Module):
    """HiFi-GAN's residual block: three times x + a convolution of a dilated convolution of x."""

    def __init__(self, width: int, kernel: int) -> None:
        super().__init__()
        self.dilated = nn.ModuleList(_same(width, width, kernel, each) for each in _DILATIONS)
        self.plain = nn.ModuleList(_same(width, width, kernel) for _ in _DILATIONS)

    def forward(self, steps: Tensor, lengths: Tensor | None) -> Tensor:
        """Refine steps `[B, C, T]`."""
        for dilated, plain in zip(self.dilated, self.plain, strict=True):
            hidden = _within(dilated, F.leaky_relu(steps, _SLOPE), lengths)
            steps = steps + _within(plain, F.leaky_relu(hidden, _SLOPE), lengths)
        return steps


class ReceptiveFields(nn.Module):
    """The mean of three residual blocks that reach differently far."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fields = nn.ModuleList(ReceptiveField(width, kernel) for kernel in _KERNELS)

    def forward(self, steps: Tensor, lengths: Tensor | None) -> Tensor:
        """Refine steps `[B, C, T]`."""
        return torch.stack([field(steps, lengths) for field in self.fields]).mean(0)


class ResidualUnit(nn.Module):
    """SEANet's: a narrow convolution, added to a projection of the steps themselves."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = _same(width, width // 2, 3)
        self.conv2 = _same(width // 2, width, 1)
        self.shortcut = _same(width, width, 1)

    def forward(self, steps: Tensor, lengths: Tensor | None) -> Tensor:
        """Refine steps `[B, C, T]`."""
        hidden = F.elu(_within(self.conv1, F.elu(steps), lengths))
        refined: Tensor = self.shortcut(steps) + self.conv2(hidden)
        return refined


class UpsamplingVocoder(nn.Module):
    """HiFi-GAN's generator, or SEANet's decoder without recurrent layers."""

    def __init__(self, config: UpsamplingConfig) -> None:
        super().__init__()
        self.is_hifigan = config.kind == "hifigan"
        self.factors = factors(config.hop_size)
        widths = [config.dim // 2**level for level in range(len(self.factors) + 1)]
        self.conv_in = _same(config.input_channels, widths[0], 7)
        self.ups = nn.ModuleList(map(_faster, widths, widths[1:], self.factors))
        level = ReceptiveFields if self.is_hifigan else ResidualUnit
        self.levels = nn.ModuleList(map(level, widths[1:]))
        self.conv_out = _same(widths[-1], 1, 7)

    def forward(self, features: Tensor, lengths: Tensor | None) -> Tensor:
        """Features `[B, T, M]`, of which clip i has `lengths[i]`, to samples `[B, T * hop]`."""
        steps = _within(self.conv_in, features.transpose(1, 2), lengths)
        for factor, up, level in zip(self.factors, self.ups, self.levels, strict=True):
            steps = _within(up, self._activate(steps), lengths)
            lengths = None if lengths is None else lengths * factor
            steps = level(steps, lengths)
        samples = _within(self.conv_out, self._activate(steps), lengths)[:, 0].float()
        return samples.tanh() if self.is_hifigan else samples

    def to_samples(self, features: Tensor) -> Tensor:
        """Features `[B, T, M]` of whole clips to samples."""
        samples: Tensor = self(features, None)
        return samples

    def _activate(self, steps: Tensor) -> Tensor:
        return F.leaky_relu(steps, _SLOPE) if self.is_hifigan else F.elu(steps)


def _same(width_in: int, width_out: int, kernel: int, dilation: int = 1) -> nn.Conv1d:
    """A convolution that gives as many steps as it takes."""
    return nn.Conv1d(width_in, width_out, kernel, padding="same", dilation=dilation)


def _faster(width_in: int, width_out: int, factor: int) -> nn.ConvTranspose1d:
    """A transposed convolution that gives exactly `factor` times as many steps."""
    odd = factor % 2
    kernel, padding = 2 * factor + odd, factor // 2 + odd
    return nn.ConvTranspose1d(width_in, width_out, kernel, factor, padding)


def _within(layer: nn.Module, steps: Tensor, lengths: Tensor | None) -> Tensor:
    """Run a layer on steps `[B, C, T]`, 0 beyond each clip's length."""
    valid = valid_steps(lengths, steps.shape[2])
    made: Tensor = layer(steps if valid is None else torch.where(valid[:, None], steps, 0.0))
    return made
