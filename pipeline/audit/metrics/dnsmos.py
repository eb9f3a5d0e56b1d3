"""DNSMOS: how natural a voice sounds without a reference; the networks come with `speechmos`.

The package itself wants librosa and pandas, so only its two ONNX files are used. Windows of
9.01 s, one a second, are scored and averaged, short clips are repeated to fill one, as there.
"""

import importlib.util
import math
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.audit.metrics.reasons import NotMeasurable, Reason
from pipeline.audit.metrics.speaker_similarity import onnx_session
from xy_codec.contract import Waveform

RATE_HZ = 16000
_WINDOW_SECONDS = 9.01
_WINDOW = int(_WINDOW_SECONDS * RATE_HZ)
_FFT = 321
_HOP = 160
_MELS = 120
# From raw overall score to a mean opinion score, published with the networks.
_OVERALL = np.poly1d([-0.06766283, 1.11546468, 0.04602535])


def dnsmos(waveform: Waveform) -> tuple[float, float]:
    """P.835 overall and P.808 (1 to 5) of 16 kHz audio; samples beyond full scale are clipped.

    Raises:
        NotMeasurable: silence, or `speechmos` is not installed.
    """
    if not np.any(waveform):
        raise NotMeasurable(Reason.SILENT)
    overall_net, p808_net = _networks()
    overall, p808 = [], []
    # One by one: a batch of the windows of half a minute takes 3 GB and is no faster on a core.
    for window in _windows(np.clip(waveform, -1.0, 1.0)):
        raw = overall_net.run(None, {"input_1": window[None]})[0][0, 2]
        overall.append(_OVERALL(float(raw)))
        p808.append(p808_net.run(None, {"input_1": _log_mel(window[:-_HOP])[None]})[0][0, 0])
    return float(np.mean(overall)), float(np.mean(p808))


@lru_cache(maxsize=1)
def _networks() -> tuple[Any, Any]:
    spec = importlib.util.find_spec("speechmos")
    if spec is None or spec.origin is None:
        raise NotMeasurable(Reason.NOT_INSTALLED)
    folder = Path(spec.origin).parent / "dnsmos_models"
    return (
        onnx_session(str(folder / "sig_bak_ovr.onnx")),
        onnx_session(str(folder / "model_v8.onnx")),
    )


def _windows(waveform: Waveform) -> NDArray[np.float32]:
    filled = waveform
    while len(filled) < _WINDOW:
        filled = np.concatenate([filled, filled])
    seconds = range(int(len(filled) // RATE_HZ - _WINDOW_SECONDS) + 1)
    # The package rounds (second + 9.01) * 16000 in floating point and skips what comes out short.
    ends = ((second, int((second + _WINDOW_SECONDS) * RATE_HZ)) for second in seconds)
    windows = (filled[second * RATE_HZ : end] for second, end in ends)
    return np.stack([window for window in windows if len(window) == _WINDOW]).astype(np.float32)


def _log_mel(window: Waveform) -> NDArray[np.float32]:
    """Log-mel `[frames, 120]`, 80 dB below the clip's maximum at most, scaled to about ±1."""
    from scipy.fft import rfft

    padded = np.pad(window, _FFT // 2)
    frames = np.lib.stride_tricks.sliding_window_view(padded, _FFT)[::_HOP]
    spectrum = rfft(frames * _hann(), axis=1)
    power = (np.square(spectrum.real) + np.square(spectrum.imag)) @ _mel_filters()
    level_db = 10 * np.log10(np.maximum(power, 1e-10))
    level_db -= 10 * np.log10(max(float(power.max()), 1e-10))
    return np.asarray((np.maximum(level_db, level_db.max() - 80.0) + 40) / 40, dtype=np.float32)


@lru_cache(maxsize=1)
def _hann() -> NDArray[np.float32]:
    return np.hanning(_FFT + 1)[:-1].astype(np.float32)


@lru_cache(maxsize=1)
def _mel_filters() -> NDArray[np.float32]:
    """Slaney's mel triangles of equal area, `[bins, 120]`."""
    edges = _mel_to_hz(np.linspace(0.0, _hz_to_mel(RATE_HZ / 2), _MELS + 2))
    hz = np.arange(_FFT // 2 + 1)[:, None] * (RATE_HZ / _FFT)
    rising = (hz - edges[:-2]) / np.diff(edges)[:-1]
    falling = (edges[2:] - hz) / np.diff(edges)[1:]
    triangles = np.maximum(0, np.minimum(rising, falling))
    return np.asarray(triangles * (2.0 / (edges[2:] - edges[:-2])), dtype=np.float32)


def _hz_to_mel(hz: float) -> float:
    return 15.0 + math.log(hz / 1000.0) / (math.log(6.4) / 27.0)


def _mel_to_hz(mel: NDArray[np.float64]) -> NDArray[np.float64]:
    above = 1000.0 * np.exp((np.log(6.4) / 27.0) * (mel - 15.0))
    return np.asarray(np.where(mel < 15.0, mel * 200.0 / 3.0, above))
