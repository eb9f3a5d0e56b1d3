"""STOI and PESQ of a pair.

STOI (Taal et al. 2011) is ours because `pystoi` takes 1.8 times as long: 41 ms instead of 23 for
10 s on one core (`tests/benchmarks/bench_audit.py`). A test holds it to the package within 1e-6.
Views of 30 frames stand for the package's copies of overlapping segments.

PESQ is the ITU reference code in the package `pesq`. It writes past its tables on more than 50
utterances and ends the process; long recordings therefore belong into `score_pool.py`, which
survives that.
"""

from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.audit.metrics.reasons import NotMeasurable, Reason
from xy_codec.contract import Waveform

RATE_HZ = 16000
_INNER_RATE_HZ = 10000
_UP, _DOWN = 5, 8
_FRAME = 256
_HOP = 128
_FFT = 512
_BANDS = 15
_LOWEST_BAND_HZ = 150.0
_SEGMENT = 30
_DYNAMIC_RANGE_DB = 40.0
# Distortion beyond -15 dB is clipped: it cannot hurt intelligibility any more.
_CLIP = 1.0 + 10 ** (15.0 / 20)
_EPS = float(np.finfo(np.float64).eps)
Matrix = NDArray[np.float64]


def stoi(original: Waveform, reconstruction: Waveform) -> float:
    """STOI of two 16 kHz waveforms of equal length.

    Raises:
        NotMeasurable: silence, or fewer than 30 frames (0.4 s) of speech.
    """
    if len(original) * _INNER_RATE_HZ // RATE_HZ <= _FRAME:
        raise NotMeasurable(Reason.TOO_SHORT)
    if not np.any(original):
        raise NotMeasurable(Reason.SILENT)
    clean, degraded = _speech_only(_to_inner_rate(original), _to_inner_rate(reconstruction))
    if (len(clean) - _FRAME + _HOP - 1) // _HOP < _SEGMENT:
        raise NotMeasurable(Reason.TOO_SHORT)
    return _mean_correlation(_bands(clean), _bands(degraded))


def _to_inner_rate(waveform: Waveform) -> Matrix:
    """What `scipy.signal.resample_poly` gives; its import takes two seconds of every process."""
    samples: Matrix = np.asarray(waveform, dtype=np.float64)
    weights, before = _weights()
    count = -(-len(samples) * _UP // _DOWN)
    padded = np.pad(samples, (before, len(weights) + _DOWN))
    windows = np.lib.stride_tricks.sliding_window_view(padded, len(weights))[::_DOWN]
    # A product of matrices wants whole rows.
    blocks = np.ascontiguousarray(windows[: -(-count // _UP)])
    return np.asarray((blocks @ weights).reshape(-1)[:count])


@lru_cache(maxsize=1)
def _weights() -> tuple[Matrix, int]:
    """What each of five samples takes from those around its eight, and how far that begins before.

    Of the samples with four zeros between them, the filter meets every fifth tap.
    """
    taps = _UP * _octave_window()
    middles = [divmod(_DOWN * place + len(taps) // 2, _UP) for place in range(_UP)]
    before = max(len(taps[first::_UP]) - 1 - last for last, first in middles)
    weights = np.zeros((before + max(last for last, _ in middles) + 1, _UP))
    for place, (last, first) in enumerate(middles):
        own = taps[first::_UP][::-1]
        end = before + last + 1
        weights[end - len(own) : end, place] = own
    return weights, before


def _octave_window() -> Matrix:
    """The Kaiser-windowed sinc that Octave's `resample` designs for 60 dB of rejection."""
    cutoff = 1.0 / (2 * max(_UP, _DOWN))
    rejection_db = 60.0
    half = np.ceil((rejection_db - 8) / (28.714 * cutoff / 10))
    time = np.arange(-half, half + 1)
    taps = np.kaiser(len(time), 0.1102 * (rejection_db - 8.7)) * np.sinc(2 * cutoff * time)
    return np.asarray(taps / taps.sum(), dtype=np.float64)


@lru_cache(maxsize=1)
def _window() -> Matrix:
    return np.asarray(np.hanning(_FRAME + 2)[1:-1], dtype=np.float64)


def _frames(samples: Matrix) -> Matrix:
    starts = slice(0, len(samples) - _FRAME, _HOP)
    return np.asarray(np.lib.stride_tricks.sliding_window_view(samples, _FRAME)[starts])


def _speech_only(clean: Matrix, degraded: Matrix) -> tuple[Matrix, Matrix]:
    """Both signals without the frames in which the clean one is 40 dB below its loudest."""
    clean_frames, degraded_frames = _frames(clean) * _window(), _frames(degraded) * _window()
    energy_db = 20 * np.log10(np.linalg.norm(clean_frames, axis=1) + _EPS)
    kept = energy_db.max() - _DYNAMIC_RANGE_DB - energy_db < 0
    return _overlap_add(clean_frames[kept]), _overlap_add(degraded_frames[kept])


def _overlap_add(frames: Matrix) -> Matrix:
    halves = frames.reshape(-1, 2, _HOP)
    out = np.zeros((len(frames) + 1, _HOP))
    out[:-1] += halves[:, 0]
    out[1:] += halves[:, 1]
    return out.reshape(-1)


@lru_cache(maxsize=1)
def _third_octaves() -> Matrix:
    bins = np.linspace(0, _INNER_RATE_HZ, _FFT + 1)[: _FFT // 2 + 1]
    matrix = np.zeros((_BANDS, len(bins)))
    for band in range(_BANDS):
        edges = _LOWEST_BAND_HZ * 2.0 ** ((2 * band + np.array([-1, 1])) / 6)
        low, high = (int(np.argmin(np.square(bins - edge))) for edge in edges)
        matrix[band, low:high] = 1
    return matrix


def _bands(samples: Matrix) -> Matrix:
    """Magnitudes `[bands, frames]`."""
    spectrum = np.fft.rfft(_frames(samples) * _window(), n=_FFT, axis=1)
    return np.asarray(np.sqrt(_third_octaves() @ np.square(np.abs(spectrum)).T))


def _mean_correlation(clean: Matrix, degraded: Matrix) -> float:
    """Mean over bands and segments; one band at a time stays in the processor's cache."""
    pairs = zip(clean, degraded, strict=True)
    return float(np.mean([_band_correlations(*pair).mean() for pair in pairs]))


def _band_correlations(clean: Matrix, degraded: Matrix) -> Matrix:
    """Correlation of each 30 consecutive frames of one band, degraded scaled and clipped first."""
    segments = np.lib.stride_tricks.sliding_window_view(clean, _SEGMENT)
    others = np.lib.stride_tricks.sliding_window_view(degraded, _SEGMENT)
    scale = _norm(segments) / (_norm(others) + _EPS)
    clipped = np.minimum(
        others * scale[:, None], np.lib.stride_tricks.sliding_window_view(clean * _CLIP, _SEGMENT)
    )
    clipped -= clipped.mean(1, keepdims=True)
    centred = segments - segments.mean(1, keepdims=True)
    product = np.einsum("ms,ms->m", clipped, centred)
    return np.asarray(product / ((_norm(clipped) + _EPS) * (_norm(centred) + _EPS)))


def _norm(segments: Matrix) -> Matrix:
    return np.asarray(np.sqrt(np.einsum("ms,ms->m", segments, segments)))


def pesq(original: Waveform, reconstruction: Waveform, band: Literal["nb", "wb"]) -> float:
    """MOS-LQO of two 16 kHz waveforms of equal length; `nb` also runs at 16 kHz, as the field does.

    Raises:
        NotMeasurable: less than a quarter second, silence, no utterance, or NaN.
    """
    try:
        import pesq as package
    except ImportError as error:
        raise NotMeasurable(Reason.NOT_INSTALLED) from error
    if len(original) < RATE_HZ // 4:
        raise NotMeasurable(Reason.TOO_SHORT)
    if not (np.any(original) and np.any(reconstruction)):
        raise NotMeasurable(Reason.SILENT)
    try:
        return float(package.pesq(RATE_HZ, original, reconstruction, band))
    except package.NoUtterancesError as error:
        raise NotMeasurable(Reason.NO_UTTERANCE) from error
    except package.BufferTooShortError as error:
        raise NotMeasurable(Reason.TOO_SHORT) from error
    except ValueError as error:
        # Sound so faint that its power rounds to nothing becomes NaN inside the reference code.
        if "NaN" not in str(error):
            raise
        raise NotMeasurable(Reason.NON_FINITE) from error
