"""Random changes to training speech, so that the codec learns pitches, levels and channels.

In numpy, whose transforms give the same bits whatever else the machine does.
"""

from fractions import Fraction

import numpy as np
import numpy.typing as npt

from xy_codec.audio import resample
from xy_codec.training.recipe import SpeechConfig

Wave = npt.NDArray[np.float32]
_FILTER_POINTS = 8
_FILTER_DB = 4.0  # standard deviation at each point


def change_pitch(wave: Wave, factor: float) -> Wave:
    """Play a wave `factor` times as fast; pitch, formants and tempo rise together."""
    ratio = Fraction(factor).limit_denominator(50)
    return resample(wave, ratio.numerator, ratio.denominator)


def change_wave(wave: Wave, config: SpeechConfig, random: np.random.Generator) -> Wave:
    """Give a wave a random level and, by chance, a random frequency response."""
    low, high = config.gain_db
    if low or high:
        gain = np.float32(10 ** (random.uniform(low, high) / 20))
        wave = wave / max(float(np.abs(wave).max()), 1e-4) * gain
    if random.random() < config.filter_chance:
        wave = _filter(wave, random.normal(0, _FILTER_DB, _FILTER_POINTS))
    return wave


def _filter(wave: Wave, curve_db: npt.NDArray[np.float64]) -> Wave:
    spectrum = np.fft.rfft(wave.astype(np.float64))
    places = np.linspace(0, len(curve_db) - 1, len(spectrum))
    response = 10 ** (np.interp(places, np.arange(len(curve_db)), curve_db) / 20)
    filtered = np.fft.irfft(spectrum * response, len(wave))
    return np.asarray(filtered / max(np.abs(filtered).max(), 1.0), np.float32)
