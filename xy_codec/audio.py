"""Audio into the codec: reading files, mono mix and resampling, bit for bit as torchaudio does.

Torch is imported on first use, so that the name of the resampler costs nothing.
"""

import io
import math
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from xy_codec.contract import Waveform
from xy_codec.errors import AudioError
from xy_codec.mp3_frames import with_length

if TYPE_CHECKING:
    import torch

# `functional.resample` with defaults; the `transforms` class differs in the last bits.
RESAMPLER = f"torchaudio-{metadata.version('torchaudio').split('+')[0]}/sinc-hann-6-0.99"

_LOWPASS_WIDTH = 6
_ROLLOFF = 0.99
# 16 MiB in float32: every usual rate stays far below, 22,051 -> 16,000 Hz would take 1.4 GB.
MAX_KERNEL_ELEMENTS = 4 * 2**20


def mono(samples: NDArray[np.float32]) -> Waveform:
    """Mix `[L]` or `[L, channels]` down to `[L]` by the mean, as the reference's loader does."""
    if samples.ndim == 1:
        return samples
    if samples.ndim != 2:
        raise AudioError(
            f"Audio has shape {list(samples.shape)}; expected [samples] or [samples, channels]. "
            "Transpose or split it first."
        )
    if samples.shape[1] == 1:
        return samples[:, 0]
    import torch

    mixed: Waveform = torch.from_numpy(np.ascontiguousarray(samples.T)).mean(0).numpy()
    return mixed


def resample(waveform: Waveform, from_hz: int, to_hz: int) -> Waveform:
    """Change the sample rate of `[L]`, giving `ceil(L * to_hz / from_hz)` samples."""
    if from_hz == to_hz or len(waveform) == 0:
        return waveform
    import torch

    divisor = math.gcd(from_hz, to_hz)
    kernel, width = _kernel(from_hz, to_hz)
    signal = torch.from_numpy(np.ascontiguousarray(waveform, dtype=np.float32))
    out: torch.Tensor = _functional()._apply_sinc_resample_kernel(
        signal, from_hz, to_hz, divisor, kernel, width
    )
    resampled: Waveform = out.numpy()
    return resampled


def check_rates(from_hz: int, to_hz: int) -> None:
    """Refuse a pair of sample rates whose resampling kernel would not fit a sensible memory."""
    if from_hz <= 0 or to_hz <= 0:
        raise AudioError(
            f"Sample rate {min(from_hz, to_hz)} Hz is not positive. "
            "Expected a rate such as 16000 or 24000; check the header of the audio file."
        )
    divisor = math.gcd(from_hz, to_hz)
    source, target = from_hz // divisor, to_hz // divisor
    width = math.ceil(_LOWPASS_WIDTH * source / (min(source, target) * _ROLLOFF))
    elements = target * (2 * width + source)
    if elements > MAX_KERNEL_ELEMENTS:
        raise AudioError(
            f"Resampling {from_hz} Hz to {to_hz} Hz needs a kernel of {elements * 4 / 2**20:,.0f} "
            f"MiB; at most {MAX_KERNEL_ELEMENTS * 4 // 2**20} MiB are allowed. Convert the audio "
            f"to a usual rate first, for example `ffmpeg -i IN -ar {_usual_rate(from_hz)} OUT`."
        )


def read_audio(source: str | Path | BinaryIO, rate_hz: int) -> Waveform:
    """Read a wav, flac, mp3, ogg or opus file as a mono waveform at `rate_hz`."""
    import soundfile

    named = str(source) if isinstance(source, str | Path) else getattr(source, "name", "stream")
    try:
        content = Path(source).read_bytes() if isinstance(source, str | Path) else source.read()
        whole = io.BytesIO(with_length(content))
        samples, from_hz = soundfile.read(whole, dtype="float32", always_2d=True)
    except (soundfile.LibsndfileError, OSError) as error:
        said = str(getattr(error, "error_string", error)).rstrip(".")
        raise AudioError(
            f"Cannot read `{named}` as audio: {said}. Expected wav, flac, mp3, ogg or opus; "
            "check the path, or convert it with `ffmpeg -i IN OUT.flac`."
        ) from error
    return resample(mono(samples), from_hz, rate_hz)


def _usual_rate(rate_hz: int) -> int:
    usual = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 88200, 96000)
    return min(usual, key=lambda candidate: abs(candidate - rate_hz))


def _functional() -> Any:
    from xy_codec.torchaudio_import import import_torchaudio

    return import_torchaudio().functional.functional


@lru_cache(maxsize=32)
def _kernel(from_hz: int, to_hz: int) -> "tuple[torch.Tensor, int]":
    """The filter bank torchaudio rebuilds on every call."""
    import torch

    check_rates(from_hz, to_hz)
    kernel, width = _functional()._get_sinc_resample_kernel(
        from_hz,
        to_hz,
        math.gcd(from_hz, to_hz),
        _LOWPASS_WIDTH,
        _ROLLOFF,
        "sinc_interp_hann",
        None,
        torch.device("cpu"),
        torch.float32,
    )
    return kernel, width
