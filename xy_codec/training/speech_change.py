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


def change_wave(
    wave: npt.NDArray[np.float32], config: SpeechConfig, random: np.random.Generator
) -> npt.NDArray[np.float32]:
    """Give a wave a random level and, by chance, a random frequency response."""
    low, high = config.gain_db
    if low or high:
        gain = np.float32(10 ** (random.uniform(low, high) / 20))
        wave = wave / max(float(np.abs(wave).max()), 1e-4) * gain
    if random.random() < config.filter_chance:
        curve = random.normal(0, _FILTER_DB, (1, 1, _FILTER_POINTS)).astype(np.float32)
        wave = _filter(torch.from_numpy(wave)[None], torch.from_numpy(curve))[0].numpy()
    return wave


def _filter(waves: Tensor, curves_db: Tensor) -> Tensor:
    spectrum = torch.fft.rfft(waves)
    response = F.interpolate(curves_db, spectrum.shape[1], mode="linear", align_corners=True)[:, 0]
    filtered: Tensor = torch.fft.irfft(spectrum * 10 ** (response / 20), n=waves.shape[1])
    return filtered / filtered.abs().amax(1, keepdim=True).clamp(min=1.0)
