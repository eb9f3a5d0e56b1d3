"""Random changes to training speech, so that the codec learns pitches, levels and channels."""

from fractions import Fraction

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from xy_codec.audio import resample
from xy_codec.training.recipe import SpeechConfig

_FILTER_POINTS = 8
_FILTER_DB = 4.0  # standard deviation at each point


def change_pitch(wave: npt.NDArray[np.float32], factor: float) -> npt.NDArray[np.float32]:
    """Play a wave `factor` times as fast; pitch, formants and tempo rise together."""
    ratio = Fraction(factor).limit_denominator(50)
    return resample(wave, ratio.numerator, ratio.denominator)


def change_batch(waves: Tensor, config: SpeechConfig, random: np.random.Generator) -> Tensor:
    """Give each wave `[B, L]` a random level and some of them a random frequency response."""
    low, high = config.gain_db
    if low or high:
        gains = random.uniform(low, high, len(waves)).astype(np.float32)
        peaks = waves.abs().amax(1, keepdim=True).clamp(min=1e-4)
        waves = waves / peaks * torch.from_numpy(10 ** (gains / 20))[:, None]
    chosen = random.random(len(waves)) < config.filter_chance
    if chosen.any():
        curve = random.normal(0, _FILTER_DB, (len(waves), 1, _FILTER_POINTS))
        waves = _filter(waves, torch.from_numpy((curve * chosen[:, None, None]).astype(np.float32)))
    return waves


def _filter(waves: Tensor, curves_db: Tensor) -> Tensor:
    spectrum = torch.fft.rfft(waves)
    response = F.interpolate(curves_db, spectrum.shape[1], mode="linear", align_corners=True)[:, 0]
    filtered: Tensor = torch.fft.irfft(spectrum * 10 ** (response / 20), n=waves.shape[1])
    return filtered / filtered.abs().amax(1, keepdim=True).clamp(min=1.0)
