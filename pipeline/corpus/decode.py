"""Decodes the audio bytes of a clip by libsndfile and resamples them to the codec's rate.

The decoding threads of a worker call it, and so does the audit. What a file declares (length, rate,
channels) is checked against `ClipBounds` before memory is taken. Bad audio is a returned value; a
machine without memory or file descriptors is a `NodeError`, because it says nothing about the clip.
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
from pipeline.corpus.stated_length import stated_samples
from pipeline.errors import NodeError
from xy_codec.audio import RESAMPLER, check_rates, mono, resample
from xy_codec.codes_shape import CodesShape
from xy_codec.contract import Waveform
from xy_codec.errors import AudioError
from xy_codec.mp3_frames import with_length

__all__ = ["DECODER", "RESAMPLER", "ClipBounds", "ClipFault", "DecodedClip", "decode_clip"]

_SOUNDFILE = f"soundfile-{metadata.version('soundfile')}"
# The last word says that MP3 of varying bit rate is read to its end (`mp3_frames.py`).
DECODER = f"libsndfile-{soundfile.__libsndfile_version__}/{_SOUNDFILE}/whole-mp3"

# Clips up to this length are resampled in one piece. Longer clips are resampled in blocks with
# context, which gives the same bits (a test checks it) without a second copy of hours of audio.
WHOLE_SECONDS = 120
BLOCK_SECONDS = 30
CONTEXT_SECONDS = 1
# Of all channels together (1 GiB): what declares more is read in blocks, too.
_MAX_WHOLE_SAMPLES = 1 << 28
# Codes of libsndfile.
_UNKNOWN_FORMAT = 1
_NO_MEMORY = 17
_TORCH_HAS_NO_MEMORY = "can't allocate memory"
_SHOWN_BYTES = 8
_UNKNOWN_FRAMES = 2**62
# No recording of speech has a lower rate.
MIN_RATE_HZ = 2000


@dataclass(frozen=True, slots=True)
class ClipBounds:
    """The lengths, rates and channels that a clip may declare, checked before memory is taken."""

    max_seconds: float | None = None
    max_channels: int = 64
    min_rate_hz: int = MIN_RATE_HZ
    max_rate_hz: int = 384_000
    # The bound when `max_seconds` is None: a clip that declares more is taken for damaged.
    hard_max_seconds: float = 6 * 3600

    @classmethod
    def of(cls, max_seconds: float | None, shape: CodesShape) -> "ClipBounds":
        """The bounds of a run and of its codec together."""
        limits = [each for each in (max_seconds, shape.max_seconds) if each is not None]
        return cls(
            max_seconds=min(limits, default=None),
            min_rate_hz=max(MIN_RATE_HZ, shape.min_source_rate_hz),
        )

    @property
    def longest_seconds(self) -> float:
        """The longest clip that is decoded."""
        return self.hard_max_seconds if self.max_seconds is None else self.max_seconds


@dataclass(frozen=True, slots=True)
class ClipFault:
    """Why a clip could not be decoded."""

    reason: Reason
    detail: str


@dataclass(frozen=True, slots=True)
class DecodedClip:
    """Mono samples at the codec's rate; the other figures are those of the source.

    `declared_samples` is what its header says, 0 where that is not known.
    """

    waveform: Waveform
    num_samples: int
    sample_rate: int
    declared_samples: int = 0


Decoder = Callable[..., "DecodedClip | ClipFault"]


def load_decoder(name: str) -> Decoder:
    """Import the decoding function that `module:function` names."""
    module, _, function = name.partition(":")
    decoder: Decoder = getattr(importlib.import_module(module), function)
    return decoder


class AdmitSeconds(Protocol):
    """Called with the declared length before samples are read; may wait for memory."""

    def __call__(self, seconds: float) -> None:
        """Wait until the worker has memory for so many seconds of audio."""
        ...


def decode_clip(
    payload: bytes, rate_hz: int, bounds: ClipBounds, admit: AdmitSeconds | None = None
) -> DecodedClip | ClipFault:
    """The samples of one audio member at `rate_hz`, or the reason why it has none.

    Raises `NodeError` when this machine could not decode any clip.
    """
    if not payload:
        return ClipFault(Reason.EMPTY, "the member has no bytes")
    try:
        with _opened(with_length(payload)) as file:
            fault = check_declared(file.frames, file.samplerate, file.channels, rate_hz, bounds)
            if fault:
                return fault
            if admit:
                admit(min(file.frames / file.samplerate, bounds.hard_max_seconds))
            return _read_clip(file, payload, rate_hz, bounds)
    except soundfile.LibsndfileError as error:
        if error.code == _NO_MEMORY:
            raise _node_error(error) from error
        return ClipFault(Reason.UNDECODABLE, _describe(error, payload))
    except (OSError, MemoryError) as error:
        # The bytes lie in memory and their length was checked, so the clip cannot be the cause.
        raise _node_error(error) from error
    except RuntimeError as error:
        if _TORCH_HAS_NO_MEMORY in str(error):
            raise _node_error(error) from error
        raise
    except ValueError as error:
        return ClipFault(Reason.UNDECODABLE, " ".join(str(error).split())[:200])


@dataclass(frozen=True, slots=True)
class Container:
    """A format of audio that only PyAV reads."""

    name: str
    ffmpeg_name: str

    @property
    def remedy(self) -> str:
        """What a clip of it needs."""
        return f"{self.name}, which libsndfile does not know: install `xytok[av]`, pass `--pyav`"


def container_of(payload: bytes) -> Container | None:
    """Which of the formats that libsndfile does not know this is, told by its first bytes."""
    if payload[4:8] == b"ftyp":
        return Container("M4A or MP4", "mov")
    if payload.startswith(b"\x1a\x45\xdf\xa3"):
        return Container("WebM or Matroska", "matroska")
    if payload.startswith(b"\x30\x26\xb2\x75\x8e\x66\xcf\x11"):
        return Container("WMA", "asf")
    # The syncword of ADTS with layer 0, which MPEG audio never has.
    if len(payload) > 1 and payload[0] == 0xFF and payload[1] & 0xF6 == 0xF0:
        return Container("AAC", "aac")
    return None


def _describe(error: soundfile.LibsndfileError, payload: bytes) -> str:
    begin = payload[:_SHOWN_BYTES].hex(" ") + (" …" if len(payload) > _SHOWN_BYTES else "")
    container = container_of(payload)
    if error.code == _UNKNOWN_FORMAT and container is not None:
        return container.remedy
    if error.code == _UNKNOWN_FORMAT:
        return f"not audio that libsndfile knows (it begins with {begin})"
    # Not `str(error)`, which also names a file descriptor of this process.
    return f"{' '.join(error.error_string.split())[:150]} (it begins with {begin})"


def _node_error(error: BaseException) -> NodeError:
    return NodeError(
        f"A clip could not be decoded, because this machine failed ({type(error).__name__}: "
        f"{error}); expected memory and file descriptors; free some, or start fewer workers here"
    )


def check_declared(
    frames: int, source_hz: int, channels: int, rate_hz: int, bounds: ClipBounds
) -> ClipFault | None:
    """The fault of a clip that declares such frames, rate and channels, if it has one."""
    if not bounds.min_rate_hz <= source_hz <= bounds.max_rate_hz:
        detail = f"{source_hz} Hz; expected {bounds.min_rate_hz} to {bounds.max_rate_hz} Hz"
        return ClipFault(Reason.BAD_SAMPLE_RATE, detail)
    try:
        check_rates(source_hz, rate_hz)
    except AudioError as error:
        return ClipFault(Reason.BAD_SAMPLE_RATE, str(error)[:200])
    if not 1 <= channels <= bounds.max_channels:
        detail = f"{channels} channels; expected 1 to {bounds.max_channels}"
        return ClipFault(Reason.TOO_MANY_CHANNELS, detail)
    # Some formats declare no length; it is checked after reading.
    return too_long(frames, source_hz, bounds) if frames < _UNKNOWN_FRAMES else None


def too_long(frames: int, source_hz: int, bounds: ClipBounds) -> ClipFault | None:
    """The fault of a clip of so many frames, if they are too many."""
    longest = bounds.longest_seconds
    if frames <= longest * source_hz:
        return None
    return ClipFault(
        Reason.TOO_LONG, f"{frames / source_hz:.1f} s; at most {longest:g} s are allowed"
    )


def _read_clip(
    file: Any, payload: bytes, rate_hz: int, bounds: ClipBounds
) -> DecodedClip | ClipFault:
    source_hz = file.samplerate
    is_short = file.frames <= WHOLE_SECONDS * source_hz
    if is_short and file.frames * file.channels <= _MAX_WHOLE_SAMPLES:
        samples = mono(_read_whole(file))
        num_samples = len(samples)
        waveform = resample(samples, source_hz, rate_hz)
    else:
        waveform, num_samples = _read_long(file, rate_hz, bounds)
        fault = too_long(num_samples, source_hz, bounds)
        if fault:
            return fault
    declared = stated_samples(payload, file.frames) if file.frames < _UNKNOWN_FRAMES else 0
    return checked_clip(waveform, num_samples, source_hz, declared)


def checked_clip(
    waveform: Waveform, num_samples: int, source_hz: int, declared_samples: int = 0
) -> DecodedClip | ClipFault:
    """The clip, unless it has no samples or some that are no numbers."""
    if num_samples == 0:
        return ClipFault(Reason.EMPTY, "the audio has no samples")
    # One NaN or infinity makes the sum not finite. A sum can also overflow without any, so every
    # sample is looked at then.
    if not np.isfinite(waveform.sum()) and not np.isfinite(waveform).all():
        return ClipFault(Reason.NON_FINITE, "NaN or infinity among the samples")
    return DecodedClip(waveform, num_samples, source_hz, declared_samples)


def _read_whole(file: Any) -> Waveform:
    # `read` would also ask for the position three times, holding the GIL each time.
    samples = np.empty((file.frames, file.channels), np.float32)
    return samples[: file.buffer_read_into(samples, "float32")]


def _read_long(file: Any, rate_hz: int, bounds: ClipBounds) -> tuple[Waveform, int]:
    source_hz = file.samplerate
    # A second more than allowed is read, so that a longer clip shows itself.
    most_samples = int(bounds.longest_seconds + 1) * source_hz
    declared = min(file.frames, most_samples)
    # The samples are held once. If the declared length is too large, the pages beyond the real one
    # are never touched and cost no memory.
    waveform = np.empty(-(-declared * rate_hz // source_hz), np.float32)
    lengths: list[int] = []
    blocks = _mono_blocks(file, most_samples, lengths)
    filled = 0
    for piece in _resample_blocks(blocks, source_hz, rate_hz):
        waveform[filled : filled + len(piece)] = piece
        filled += len(piece)
    return waveform[:filled], sum(lengths)


def _mono_blocks(file: Any, most_samples: int, lengths: list[int]) -> Iterator[Waveform]:
    """Blocks of the file; the length of each is appended to `lengths`."""
    left = most_samples
    while left > 0:
        wanted = min(left, BLOCK_SECONDS * file.samplerate)
        block = file.read(wanted, dtype="float32", always_2d=True)
        if len(block):
            lengths.append(len(block))
            yield mono(block)
        if len(block) < wanted:
            return
        left -= len(block)


def _resample_blocks(
    blocks: Iterator[Waveform], source_hz: int, rate_hz: int
) -> Iterator[Waveform]:
    """Resample blocks of `BLOCK_SECONDS`, the last maybe shorter, as if they were one waveform."""
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
    # libsndfile reads a memory file by itself; on a `BytesIO` it would call Python for every block.
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
