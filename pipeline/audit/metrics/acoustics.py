"""Plain signal figures: log-mel distance, F0 and voicing, level, clipping, silence. NumPy only."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from pipeline.audit.metrics.reasons import NotMeasurable, Reason
from xy_codec.contract import Waveform

RATE_HZ = 16000
Pitch = NDArray[np.float32]
_FFT = 400
_HOP = 160
_MELS = 80
# Below -80 dB full scale two spectra count as equal: it is inaudible and numerically arbitrary.
_FLOOR = 1e-8
_CLIPPED_FROM = 0.999
_SILENT_BELOW_DB = -60.0
_SILENCE_FRAME = 320
_PITCH_FRAME = 1024
_LOWEST_HZ, _HIGHEST_HZ = 60, 400
# Normalised autocorrelation above which a frame is voiced, and how far below the loudest it may be.
_VOICED_FROM = 0.6
_VOICED_RANGE_DB = 35.0


def level_db(waveform: Waveform) -> float:
    """Root mean square in dB relative to full scale.

    Raises:
        NotMeasurable: no sample differs from zero.
    """
    power = float(np.mean(np.square(waveform, dtype=np.float64))) if len(waveform) else 0.0
    if power == 0.0:
        raise NotMeasurable(Reason.SILENT)
    return 10.0 * float(np.log10(power))


def gain_db(original: Waveform, reconstruction: Waveform) -> float:
    """How much louder the reconstruction is."""
    return level_db(reconstruction) - level_db(original)


def clipped_share(waveform: Waveform) -> float:
    """Share of samples at full scale."""
    return float(np.mean(np.abs(waveform) >= _CLIPPED_FROM))


def silent_share(waveform: Waveform) -> float:
    """Share of 20 ms frames below -60 dB full scale."""
    whole = len(waveform) // _SILENCE_FRAME * _SILENCE_FRAME
    if whole == 0:
        raise NotMeasurable(Reason.TOO_SHORT)
    power = np.square(waveform[:whole].reshape(-1, _SILENCE_FRAME)).mean(axis=1)
    return float(np.mean(power < 10 ** (_SILENT_BELOW_DB / 10)))


def log_mel_distance_db(original: Waveform, reconstruction: Waveform) -> float:
    """Mean over frames of the root mean square difference of 80 log-mel bands, in dB."""
    difference = _log_mel_db(original) - _log_mel_db(reconstruction)
    return float(np.sqrt(np.square(difference).mean(axis=1)).mean())


def f0_error_cents(original: Pitch, reconstruction: Pitch) -> float:
    """Mean absolute F0 difference over the frames voiced in both, in cents.

    Raises:
        NotMeasurable: no frame is voiced in both.
    """
    both = (original > 0) & (reconstruction > 0)
    if not both.any():
        raise NotMeasurable(Reason.NO_VOICED_FRAMES)
    return float(np.abs(1200.0 * np.log2(original[both] / reconstruction[both])).mean())


def f0_shift_cents(original: Pitch, reconstruction: Pitch) -> float:
    """How much higher the reconstruction is, in cents: the median over frames voiced in both.

    Raises:
        NotMeasurable: no frame is voiced in both.
    """
    both = (original > 0) & (reconstruction > 0)
    if not both.any():
        raise NotMeasurable(Reason.NO_VOICED_FRAMES)
    return float(np.median(1200.0 * np.log2(reconstruction[both] / original[both])))


def voicing_agreement(original: Pitch, reconstruction: Pitch) -> float:
    """Share of frames that are voiced in both or in neither."""
    return float(np.mean((original > 0) == (reconstruction > 0)))


def pitch_hz(waveform: Waveform) -> Pitch:
    """F0 every 10 ms by the autocorrelation of 64 ms frames; 0 where unvoiced."""
    frames = _frames(waveform, _PITCH_FRAME)
    frames = frames - frames.mean(axis=1, keepdims=True)
    low, high = RATE_HZ // _HIGHEST_HZ, RATE_HZ // _LOWEST_HZ
    correlation = _normalised_autocorrelation(frames, high + 1)
    lags = _first_high_peak(correlation[:, low - 1 : high + 2]) + low - 1
    rows = np.arange(len(frames))
    power_db = 10 * np.log10(np.square(frames).mean(axis=1) + 1e-12)
    loud = power_db > max(power_db.max() - _VOICED_RANGE_DB, _SILENT_BELOW_DB)
    voiced = (correlation[rows, lags] > _VOICED_FROM) & loud
    hz = RATE_HZ / (lags + _peak_offset(correlation, rows, lags))
    return np.where(voiced, hz, 0.0).astype(np.float32)


def _frames(waveform: Waveform, size: int) -> NDArray[np.float32]:
    if len(waveform) < size:
        raise NotMeasurable(Reason.TOO_SHORT)
    return np.asarray(np.lib.stride_tricks.sliding_window_view(waveform, size)[::_HOP])


def _log_mel_db(waveform: Waveform) -> NDArray[np.float32]:
    from scipy.fft import rfft

    spectrum = rfft(_frames(waveform, _FFT) * _hann(), axis=1)
    power = (np.square(spectrum.real) + np.square(spectrum.imag)) / np.float32(_hann().sum() ** 2)
    return np.asarray(10 * np.log10(np.maximum(power @ mel_filters(), _FLOOR)))


@lru_cache(maxsize=1)
def _hann() -> NDArray[np.float32]:
    return np.hanning(_FFT + 1)[:-1].astype(np.float32)


@lru_cache(maxsize=1)
def mel_filters() -> NDArray[np.float32]:
    """Triangles `[bins, mels]` with peak one, equally spaced in mel = 2595 log10(1 + f / 700)."""
    top = 2595 * np.log10(1 + RATE_HZ / 2 / 700)
    edges = 700 * (10 ** (np.linspace(0, top, _MELS + 2) / 2595) - 1)
    hz = np.arange(_FFT // 2 + 1)[:, None] * RATE_HZ / _FFT
    rising = (hz - edges[:-2]) / np.diff(edges)[:-1]
    falling = (edges[2:] - hz) / np.diff(edges)[1:]
    return np.maximum(0, np.minimum(rising, falling)).astype(np.float32)


def _normalised_autocorrelation(frames: NDArray[np.float32], lags: int) -> NDArray[np.float32]:
    """Correlation of each frame with itself at lags 0..lags, 1 where they agree up to a factor."""
    from scipy.fft import irfft, next_fast_len, rfft

    size = frames.shape[1]
    spectrum = rfft(frames, n=next_fast_len(size + lags, real=True), axis=1)
    raw = irfft(np.square(spectrum.real) + np.square(spectrum.imag), axis=1)[:, : lags + 1]
    square = np.square(frames)
    total = square.sum(axis=1, keepdims=True)
    nothing = np.zeros((len(frames), 1), dtype=np.float32)
    head = total - np.hstack([nothing, square[:, : size - lags - 1 : -1].cumsum(axis=1)])
    tail = total - np.hstack([nothing, square[:, :lags].cumsum(axis=1)])
    return np.asarray(raw / (np.sqrt(np.maximum(head * tail, 0)) + 1e-9), dtype=np.float32)


def _first_high_peak(correlation: NDArray[np.float32]) -> NDArray[np.int64]:
    """The shortest lag whose local peak is near the best one: multiples of the period tie."""
    inner = correlation[:, 1:-1]
    peak = (inner >= correlation[:, :-2]) & (inner >= correlation[:, 2:])
    good = peak & (inner > 0.9 * inner.max(axis=1, keepdims=True))
    first = np.where(good.any(axis=1), good.argmax(axis=1), inner.argmax(axis=1))
    return np.asarray(first + 1, dtype=np.int64)


def _peak_offset(
    correlation: NDArray[np.float32], rows: NDArray[np.int64], lags: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Where between the lags the parabola through three points has its top, in (-0.5, 0.5)."""
    before, at, after = (correlation[rows, lags + step].astype(float) for step in (-1, 0, 1))
    bend = before - 2 * at + after
    offset = np.where(bend < 0, 0.5 * (before - after) / np.where(bend < 0, bend, 1.0), 0.0)
    return np.asarray(np.clip(offset, -0.5, 0.5))
