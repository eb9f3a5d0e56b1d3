"""Vocos: ConvNeXt blocks at 100 Hz, a spectrum head and an inverse STFT to samples."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xy_codec.xy.config import VocoderConfig
from xy_codec.xy.padding import valid_steps, zero_padding

_KERNEL = 7
_MAX_MAGNITUDE = 100.0


class ConvNeXtBlock(nn.Module):
    """Depthwise convolution in time, then a wide layer per frame, scaled and added."""

    def __init__(self, width: int, hidden: int, scale: float) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.full((width,), scale))
        self.dwconv = nn.Conv1d(width, width, _KERNEL, padding=_KERNEL // 2, groups=width)
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.pwconv1 = nn.Linear(width, hidden)
        self.pwconv2 = nn.Linear(hidden, width)

    def forward(self, steps: Tensor, valid: Tensor | None) -> Tensor:
        """One block; padding is 0 in the convolution, so that a clip's end does not read it."""
        mixed = self.dwconv(zero_padding(steps, valid).transpose(1, 2)).transpose(1, 2)
        hidden = F.gelu(self.pwconv1(self.norm(mixed)))
        widened: Tensor = steps + self.gamma * self.pwconv2(hidden)
        return widened


class Backbone(nn.Module):
    """Features to steps of the vocoder's width."""

    def __init__(self, config: VocoderConfig) -> None:
        super().__init__()
        self.embed = nn.Conv1d(config.input_channels, config.dim, _KERNEL, padding=_KERNEL // 2)
        self.norm = nn.LayerNorm(config.dim, eps=1e-6)
        self.convnext = nn.ModuleList(
            ConvNeXtBlock(config.dim, config.intermediate_dim, 1 / config.num_layers)
            for _ in range(config.num_layers)
        )
        self.final_layer_norm = nn.LayerNorm(config.dim, eps=1e-6)

    def forward(self, features: Tensor, lengths: Tensor | None) -> Tensor:
        """Features `[B, T, M]`, of which clip i has `lengths[i]`, to steps `[B, T, D]`."""
        valid = valid_steps(lengths, features.shape[1])
        embedded = self.embed(zero_padding(features, valid).transpose(1, 2))
        steps: Tensor = self.norm(embedded.transpose(1, 2))
        for block in self.convnext:
            steps = block(steps, valid)
        normed: Tensor = self.final_layer_norm(steps)
        return normed


class InverseSTFT(nn.Module):
    """Overlap-add with the edges cut, so that every frame gives exactly one hop of samples."""

    window: Tensor

    def __init__(self, n_fft: int, hop_length: int) -> None:
        super().__init__()
        self.n_fft = n_fft
        self.hop_length = hop_length
        self.register_buffer("window", torch.hann_window(n_fft))

    def forward(self, spectrum: Tensor) -> Tensor:
        """Complex `[B, T, n_fft // 2 + 1]` to samples `[B, T * hop]`."""
        frames = self.frames_of(spectrum)
        energy = self.window.square().expand(1, frames.shape[1], -1)
        return self._overlap_add(frames) / self._overlap_add(energy)

    def frames_of(self, spectrum: Tensor) -> Tensor:
        """Complex `[.., n_fft // 2 + 1]` to the windowed samples `[.., n_fft]` to be added up."""
        frames: Tensor = torch.fft.irfft(spectrum, self.n_fft, dim=-1)
        return frames * self.window

    def _overlap_add(self, frames: Tensor) -> Tensor:
        num_samples = (frames.shape[1] - 1) * self.hop_length + self.n_fft
        summed = F.fold(
            frames.transpose(1, 2),
            (1, num_samples),
            (1, self.n_fft),
            stride=(1, self.hop_length),
        )
        edge = (self.n_fft - self.hop_length) // 2
        return summed[:, 0, 0, edge : num_samples - edge]


class SpectrumHead(nn.Module):
    """Steps to log magnitude and phase, and those to samples."""

    def __init__(self, config: VocoderConfig) -> None:
        super().__init__()
        self.out = nn.Linear(config.dim, config.n_fft + 2)
        self.istft = InverseSTFT(config.n_fft, config.hop_size)

    def forward(self, steps: Tensor) -> Tensor:
        """Steps `[B, T, D]` to samples `[B, T * hop]`.

        Never in bfloat16, whose numbers near a phase of 10 rad are 0.06 apart.
        """
        with torch.autocast(steps.device.type, enabled=False):
            return self.to_samples(self.out(steps.to(self.out.weight.dtype)))

    def to_samples(self, spectra: Tensor) -> Tensor:
        """`[B, T, n_fft + 2]`, log magnitude beside phase, to samples `[B, T * hop]`."""
        samples: Tensor = self.istft(spectrum_of(spectra.float()))
        return samples


def spectrum_of(spectra: Tensor) -> Tensor:
    """Log magnitude beside phase `[.., n_fft + 2]` to complex numbers `[.., n_fft // 2 + 1]`."""
    log_magnitude, phase = spectra.chunk(2, dim=-1)
    magnitude = log_magnitude.exp().clamp(max=_MAX_MAGNITUDE)
    return torch.complex(magnitude * phase.cos(), magnitude * phase.sin())


class Vocoder(nn.Module):
    """Features at 100 Hz to a waveform."""

    def __init__(self, config: VocoderConfig) -> None:
        super().__init__()
        self.backbone = Backbone(config)
        self.head = SpectrumHead(config)

    def forward(self, features: Tensor, lengths: Tensor | None) -> Tensor:
        """Features `[B, T, M]`, of which clip i has `lengths[i]`, to samples `[B, T * hop]`.

        The last `(n_fft - hop) / 2` samples of a clip overlap the frame behind its end, which is
        padding in a batch with longer clips.
        """
        waves: Tensor = self.head(self.backbone(features, lengths))
        return waves
