"""Sound and spectrograms small enough to live inside the report: MP3 and PNG as data addresses."""

import base64
import io
import struct
import zlib
from itertools import pairwise

import numpy as np
import soundfile
from numpy.typing import NDArray

# A worst clip says what it has to say in this time, and the page stays small enough for mail.
MAX_SECONDS = 15.0
_WINDOW_SECONDS = 0.032
_ROWS, _COLUMNS = 96, 360
_RANGE_DB = 70.0
# Control points of the colour scale from silence to loud; lightness rises evenly.
_SCALE = np.array(
    [(10, 10, 26), (52, 26, 92), (128, 42, 108), (204, 70, 78), (246, 140, 56), (252, 236, 160)]
)
# Rates an MP3 stream may have; the players need no other.
_MP3_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)


def audio_address(waveform: NDArray[np.float32], rate_hz: int) -> str:
    """The first seconds of a mono waveform as a data address every browser plays."""
    cut = np.clip(waveform[: int(MAX_SECONDS * rate_hz)], -1.0, 1.0)
    file = io.BytesIO()
    if rate_hz in _MP3_RATES:
        soundfile.write(file, cut, rate_hz, format="MP3", subtype="MPEG_LAYER_III")
        return _address("audio/mpeg", file.getvalue())
    soundfile.write(file, cut, rate_hz, format="WAV", subtype="PCM_16")
    return _address("audio/wav", file.getvalue())


def spectrogram_address(waveform: NDArray[np.float32], rate_hz: int, loudest_db: float) -> str:
    """A picture of the sound, low to high upwards, as a data address.

    Args:
        loudest_db: the level drawn brightest; give both sides of a pair the same.
    """
    levels = _levels(waveform[: int(MAX_SECONDS * rate_hz)], rate_hz)
    scaled = np.clip((levels - loudest_db + _RANGE_DB) / _RANGE_DB, 0, 1)
    return _address("image/png", _png((scaled * 255).astype(np.uint8)))


def loudest_level(waveform: NDArray[np.float32], rate_hz: int) -> float:
    """The level of the loudest spot of a spectrogram, in dB."""
    return float(_levels(waveform[: int(MAX_SECONDS * rate_hz)], rate_hz).max())


def _levels(waveform: NDArray[np.float32], rate_hz: int) -> NDArray[np.float32]:
    window = int(_WINDOW_SECONDS * rate_hz) // 2 * 2
    padded = np.pad(waveform, (0, max(0, window - len(waveform))))
    starts = np.linspace(0, len(padded) - window, min(_COLUMNS, max(2, len(padded) * 4 // window)))
    frames = np.stack([padded[int(start) : int(start) + window] for start in starts])
    power = np.abs(np.fft.rfft(frames * np.hanning(window), axis=1)) ** 2
    # Rows follow the ear: even steps up to 1 kHz, growing ones above.
    top = power.shape[1] - 1
    curve = np.expm1(np.linspace(0, np.log1p(8.0), _ROWS + 1)) / 8.0
    edges = np.unique(np.round(curve * top).astype(int))
    bands = np.stack([power[:, a:b].mean(axis=1) for a, b in pairwise(edges)])
    return np.asarray(10 * np.log10(bands[::-1] + 1e-10), dtype=np.float32)


def _png(pixels: NDArray[np.uint8]) -> bytes:
    height, width = pixels.shape
    steps = np.linspace(0, len(_SCALE) - 1, 256)
    palette = np.stack(
        [np.interp(steps, np.arange(len(_SCALE)), _SCALE[:, c]) for c in range(3)], axis=1
    )
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)
    header = struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + _chunk(b"IHDR", header)
        + _chunk(b"PLTE", palette.astype(np.uint8).tobytes())
        + _chunk(b"IDAT", zlib.compress(rows, 9))
        + _chunk(b"IEND", b"")
    )


def _chunk(kind: bytes, content: bytes) -> bytes:
    checksum = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)


def _address(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
