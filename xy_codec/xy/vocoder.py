"""Vocos: ConvNeXt blocks at 100 Hz, a spectrum head and an inverse STFT to samples."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xy_codec.engine.layout import Layout
from xy_codec.engine.product import Linear, TapsConv
from xy_codec.xy.config import VocoderConfig

_KERNEL = 7
_MAX_MAGNITUDE = 100.0


class ConvNeXtBlock(nn.Module):
    """Depthwise convolution in time, then a wide layer per frame, scaled and added."""

    def __init__(self, width: int, hidden: int, scale: float) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.full((width,), scale))
        self.dwconv = nn.Conv1d(width, width, _KERNEL, padding=_KERNEL // 2, groups=width)
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.pwconv1 = Linear(width, hidden)
        self.pwconv2 = Linear(hidden, width)

    def forward(self, rows: Tensor, layout: Layout) -> Tensor:
        """One block; rows beyond a clip's end do not reach into it."""
        mixed = layout.depthwise(layout.mask(rows), self.dwconv)
        return layout.rowwise(self._widen, rows, mixed)

    def _widen(self, rows: Tensor, mixed: Tensor) -> Tensor:
        hidden = F.gelu(self.pwconv1(self.norm(mixed)))
        widened: Tensor = rows + self.gamma * self.pwconv2(hidden)
        return widened


class Backbone(nn.Module):
    """Features to rows of the vocoder's width."""

    def __init__(self, config: VocoderConfig) -> None:
        super().__init__()
        self.embed = TapsConv(config.input_channels, config.dim, _KERNEL)
        self.norm = nn.LayerNorm(config.dim, eps=1e-6)
        self.convnext = nn.ModuleList(
            ConvNeXtBlock(config.dim, config.intermediate_dim, 1 / config.num_layers)
            for _ in range(config.num_layers)
        )
        self.final_layer_norm = nn.LayerNorm(config.dim, eps=1e-6)

    def forward(self, features: Tensor, layout: Layout) -> Tensor:
        """Feature rows at 100 Hz to rows of the same rate."""
        features = layout.mask(features)
        half = _KERNEL // 2
        taps = torch.cat([layout.shift(features, half - k) for k in range(_KERNEL)], dim=-1)
        rows = layout.rowwise(self._embed, taps)
        for block in self.convnext:
            rows = block(rows, layout)
        return layout.rowwise(self.final_layer_norm, rows)

    def _embed(self, taps: Tensor) -> Tensor:
        embedded: Tensor = self.norm(self.embed(taps))
        return embedded


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
        frames = torch.fft.irfft(spectrum, self.n_fft, dim=-1) * self.window
        energy = self.window.square().expand(1, frames.shape[1], -1)
        return self._overlap_add(frames) / self._overlap_add(energy)

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
    """Rows to log magnitude and phase, and those to samples."""

    def __init__(self, config: VocoderConfig) -> None:
        super().__init__()
        self.out = Linear(config.dim, config.n_fft + 2)
        self.istft = InverseSTFT(config.n_fft, config.hop_size)

    def to_samples(self, rows: Tensor) -> Tensor:
        """The head's rows `[B, T, n_fft + 2]` of whole clips as samples `[B, T * hop]`."""
        log_magnitude, phase = rows.float().chunk(2, dim=-1)
        magnitude = log_magnitude.exp().clamp(max=_MAX_MAGNITUDE)
        spectrum = torch.complex(magnitude * phase.cos(), magnitude * phase.sin())
        samples: Tensor = self.istft(spectrum)
        return samples


class Vocoder(nn.Module):
    """Features at 100 Hz to a waveform."""

    def __init__(self, config: VocoderConfig) -> None:
        super().__init__()
        self.backbone = Backbone(config)
        self.head = SpectrumHead(config)

    def forward(self, features: Tensor, layout: Layout) -> Tensor:
        """Feature rows to rows `[log magnitude | phase]`, still one per frame."""
        return layout.rowwise(self.head.out, self.backbone(features, layout))
