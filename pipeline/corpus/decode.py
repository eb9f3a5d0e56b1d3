"""Audio bytes to samples by libsndfile, through a memory file so that it never calls back Python.

Everything a file declares is bounded before memory is taken; a fault of the data is a value.
"""

import importlib
import io
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from typing import Any, Protocol

import numpy as np
import soundfile

from pipeline.corpus.reject_reasons import Reason
from xy_codec.audio import RESAMPLER, check_rates, mono, resample
from xy_codec.contract import Waveform
from xy_codec.errors import AudioError

__all__ = ["DECODER", "RESAMPLER", "Bounds", "DecodedClip", "Fault", "decode_clip"]

DECODER = f"libsndfile-{soundfile.__libsndfile_version__}/soundfile-{metadata.version('soundfile')}"

# Clips up to this length are resampled in one piece, longer ones in blocks with context: the same
# bits (checked by a test) without a second copy of hours of audio.
WHOLE_SECONDS = 120
BLOCK_SECONDS = 30
CONTEXT_SECONDS = 1


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a clip may declare; checked before memory is taken."""

    max_seconds: float | None = None
    max_channels: int = 64
    min_rate_hz: int = 2000
    max_rate_hz: int = 384_000
    # Nothing declares more than this and means it; also the bound when `max_seconds` is None.
    hard_max_seconds: float = 6 * 3600


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a clip has no samples."""

    reason: Reason
    detail: str


@dataclass(frozen=True, slots=True)
class DecodedClip:
    """Mono samples at the codec's rate, with what the source was."""

    waveform: Waveform
    num_samples: int
    sample_rate: int


Decoder = Callable[..., "DecodedClip | Fault"]


def load_decoder(name: str) -> Decoder:
    """The decoding function behind `module:function`."""
    module, _, function = name.partition(":")
    decoder: Decoder = getattr(importlib.import_module(module), function)
    return decoder


class AdmitSeconds(Protocol):
    """Called with the declared length before samples are read; may wait for memory."""

    def __call__(self, seconds: float) -> None:
        """Wait until so many seconds of audio may be held."""
        ...


def decode_clip(
    payload: bytes, rate_hz: int, bounds: Bounds, admit: AdmitSeconds | None = None
) -> DecodedClip | Fault:
    """Samples of one audio member at `rate_hz`, or the reason why there are none."""
    if not payload:
        return Fault(Reason.EMPTY, "the member has no bytes")
    try:
        with _opened(payload) as file:
            fault = check_declared(file.frames, file.samplerate, file.channels, rate_hz, bounds)
            if fault:
                return fault
            if admit:
                admit(min(file.frames / file.samplerate, bounds.hard_max_seconds))
            return _finish(file, rate_hz, bounds)
    except (soundfile.LibsndfileError, OSError, ValueError) as error:
        return Fault(Reason.UNDECODABLE, " ".join(str(error).split())[:200])
    except MemoryError:
        return Fault(Reason.TOO_LONG, "its samples do not fit into memory")


def check_declared(
    frames: int, source_hz: int, channels: int, rate_hz: int, bounds: Bounds
) -> Fault | None:
    """A fault when what the file declares is out of bounds."""
    if not bounds.min_rate_hz <= source_hz <= bounds.max_rate_hz:
        detail = f"{source_hz} Hz; expected {bounds.min_rate_hz} to {bounds.max_rate_hz} Hz"
        return Fault(Reason.BAD_SAMPLE_RATE, detail)
    try:
        check_rates(source_hz, rate_hz)
    except AudioError as error:
        return Fault(Reason.BAD_SAMPLE_RATE, str(error)[:200])
    if not 1 <= channels <= bounds.max_channels:
        detail = f"{channels} channels; expected 1 to {bounds.max_channels}"
        return Fault(Reason.TOO_MANY_CHANNELS, detail)
    # Some formats declare no length; those are bounded while they are read.
    return _too_long(frames, source_hz, bounds) if frames < 2**62 else None


def _too_long(frames: int, source_hz: int, bounds: Bounds) -> Fault | None:
    longest = bounds.hard_max_seconds if bounds.max_seconds is None else bounds.max_seconds
    if frames <= longest * source_hz:
        return None
    return Fault(Reason.TOO_LONG, f"{frames / source_hz:.1f} s; at most {longest:g} s are allowed")


def _finish(file: Any, rate_hz: int, bounds: Bounds) -> DecodedClip | Fault:
    source_hz = file.samplerate
    if file.frames <= WHOLE_SECONDS * source_hz:
        samples = mono(_read_whole(file))
        num_samples = len(samples)
        waveform = resample(samples, source_hz, rate_hz)
    else:
        waveform, num_samples = _read_long(file, rate_hz, bounds)
        fault = _too_long(num_samples, source_hz, bounds)
        if fault:
            return fault
    if num_samples == 0:
        return Fault(Reason.EMPTY, "the audio has no samples")
    # One sum sees every NaN and infinity; it can also overflow by itself, then all are looked at.
    if not np.isfinite(waveform.sum()) and not np.isfinite(waveform).all():
        return Fault(Reason.NON_FINITE, "NaN or infinity among the samples")
    return DecodedClip(waveform, num_samples, source_hz)


def _read_whole(file: Any) -> Waveform:
    # `read` would ask for the position three times more, each time with the GIL in hand.
    samples = np.empty((file.frames, file.channels), np.float32)
    return samples[: file.buffer_read_into(samples, "float32")]


def _read_long(file: Any, rate_hz: int, bounds: Bounds) -> tuple[Waveform, int]:
    source_hz = file.samplerate
    most = int((bounds.hard_max_seconds if bounds.max_seconds is None else bounds.max_seconds) + 1)
    counter = _Counter()
    declared = min(file.frames, most * source_hz)
    # Hours of audio are held once; pages that a false length declares are never touched.
    waveform = np.empty(-(-declared * rate_hz // source_hz), np.float32)
    blocks = counter.count(_mono_blocks(file, most * source_hz))
    filled = 0
    for piece in resample_blocks(blocks, source_hz, rate_hz):
        waveform[filled : filled + len(piece)] = piece
        filled += len(piece)
    return waveform[:filled], counter.samples


@dataclass(slots=True)
class _Counter:
    samples: int = 0

    def count(self, blocks: Iterator[Waveform]) -> Iterator[Waveform]:
        for block in blocks:
            self.samples += len(block)
            yield block


def _mono_blocks(file: Any, most_samples: int) -> Iterator[Waveform]:
    left = most_samples
    while left > 0:
        wanted = min(left, BLOCK_SECONDS * file.samplerate)
        block = file.read(wanted, dtype="float32", always_2d=True)
        if len(block):
            yield mono(block)
        if len(block) < wanted:
            return
        left -= len(block)


def resample_blocks(blocks: Iterator[Waveform], source_hz: int, rate_hz: int) -> Iterator[Waveform]:
    """Resample blocks of `BLOCK_SECONDS` (the last may be shorter) as if they were one waveform."""
    context = CONTEXT_SECONDS * source_hz
    before = np.zeros(0, np.float32)
    current = next(blocks, None)
    while current is not None:
        following = next(blocks, None)
        after = following[:context] if following is not None else before[:0]
        resampled = resample(np.concatenate([before, current, after]), source_hz, rate_hz)
        start = len(before) // source_hz * rate_hz
        count = -(-len(current) * rate_hz // source_hz)
        yield resampled[start : start + count]
        before, current = current[-context:], following


@contextmanager
def _opened(payload: bytes) -> Iterator[Any]:
    if not sys.platform.startswith("linux"):
        with soundfile.SoundFile(io.BytesIO(payload)) as file:
            yield file
        return
    descriptor = os.memfd_create("xytok-clip")
    try:
        _write_all(descriptor, payload)
        os.lseek(descriptor, 0, os.SEEK_SET)
        with soundfile.SoundFile(descriptor, closefd=False) as file:
            yield file
    finally:
        os.close(descriptor)


def _write_all(descriptor: int, payload: bytes) -> None:
    written = os.write(descriptor, payload)
    while written < len(payload):
        written += os.write(descriptor, payload[written : written + (1 << 30)])
