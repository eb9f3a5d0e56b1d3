"""The log-mel of a clip at 86.13 Hz; it has no learned state."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xy_codec.blocks.mel_filters import mel_filters
from xy_codec.secousti.config import (
    HOP_SAMPLES,
    MARGIN_SAMPLES,
    SAMPLE_RATE_HZ,
    WINDOW_SAMPLES,
    CodecConfig,
)

_TOP_HZ = 8000.0
_SMALLEST_POWER = 1e-9
_FLOOR = 1e-5


class LogMel(nn.Module):
    """Samples to the logarithm of mel magnitudes."""

    window: Tensor
    filters: Tensor

    def __init__(self, config: CodecConfig) -> None:
        super().__init__()
        # Also where a model is built on the meta device to be given its weights: these are not in
        # a checkpoint.
        with torch.device("cpu"):
            filters = mel_filters(SAMPLE_RATE_HZ, WINDOW_SAMPLES, config.num_mels, _TOP_HZ)
            window = torch.hann_window(WINDOW_SAMPLES)
        self.register_buffer("window", window, persistent=False)
        self.register_buffer("filters", filters, persistent=False)

    def forward(self, waves: Tensor) -> Tensor:
        """Waves `[B, L]` of one length to `[B, M, L // 256]`."""
        mirrored = F.pad(waves, (MARGIN_SAMPLES, MARGIN_SAMPLES), mode="reflect")
        return self.of_windows(windows_of(mirrored)).transpose(1, 2)

    def of_windows(self, windows: Tensor) -> Tensor:
        """Samples `[.., 1024]`, one window a frame, to frames `[.., M]`."""
        spectrum = torch.fft.rfft(windows * self.window)
        power = spectrum.real.square() + spectrum.imag.square()
        mel = F.linear((power + _SMALLEST_POWER).sqrt(), self.filters)
        return mel.clamp(min=_FLOOR).log()


def windows_of(samples: Tensor) -> Tensor:
    """The windows `[.., T, 1024]` of mirrored samples `[.., L + 768]`."""
    return samples.unfold(-1, WINDOW_SAMPLES, HOP_SAMPLES)
