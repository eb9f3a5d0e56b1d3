"""The triangular filters of mel spectrograms, on Slaney's scale."""

import math

import torch
from torch import Tensor

_LINEAR_HZ_PER_MEL = 200.0 / 3.0
_LOG_START_HZ = 1000.0
_LOG_START_MEL = _LOG_START_HZ / _LINEAR_HZ_PER_MEL
_LOG_STEP = math.log(6.4) / 27.0


def mel_filters(rate_hz: int, n_fft: int, num_mels: int, top_hz: float | None = None) -> Tensor:
    """Filters `[num_mels, n_fft // 2 + 1]` of equal area, from 0 to `top_hz` or half the rate."""
    bins_hz = torch.linspace(0.0, rate_hz / 2, n_fft // 2 + 1, dtype=torch.float64)
    top = _hz_to_mel(rate_hz / 2 if top_hz is None else top_hz)
    edges = _mel_to_hz(torch.linspace(0.0, top, num_mels + 2, dtype=torch.float64))
    left, centre, right = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    rise = (bins_hz - left) / (centre - left)
    fall = (right - bins_hz) / (right - centre)
    triangles = torch.minimum(rise, fall).clamp(min=0.0)
    return (triangles * (2.0 / (right - left))).float()


def _hz_to_mel(hz: float) -> float:
    if hz < _LOG_START_HZ:
        return hz / _LINEAR_HZ_PER_MEL
    return _LOG_START_MEL + math.log(hz / _LOG_START_HZ) / _LOG_STEP


def _mel_to_hz(mel: Tensor) -> Tensor:
    logarithmic = _LOG_START_HZ * torch.exp(_LOG_STEP * (mel - _LOG_START_MEL))
    return torch.where(mel < _LOG_START_MEL, mel * _LINEAR_HZ_PER_MEL, logarithmic)
