"""Decodes what libsndfile does not know (M4A, MP4, AAC, WebM, WMA) by PyAV, with `--pyav`.

`decode.py` goes first, so that everything that libsndfile reads has the samples that it always had.
FFmpeg is told the container, and gets no other than these: some of its formats are lists of files
and URLs, which it would open.
"""

import io
from collections.abc import Callable, Iterator
from importlib import metadata
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from pipeline.corpus import decode
from pipeline.corpus.decode import (
    AdmitSeconds,
    ClipBounds,
    ClipFault,
    Container,
    DecodedClip,
    check_declared,
    checked_clip,
    container_of,
    too_long,
)
from pipeline.corpus.reject_reasons import Reason
from pipeline.errors import UsageError
from xy_codec.audio import mono, resample

T = TypeVar("T")
Samples = NDArray[np.float32]
_MICROSECONDS = 1_000_000
# Of a recording that is cut: more than an hour and a half of mono at 48 kHz.
_MAX_RECORDING_BYTES = 1 << 30


def pyav_version() -> str:
    """PyAV and its decoders, as the identity of a run has them; raises where it is missing."""
    av = _import_av()
    codecs = ".".join(map(str, av.library_versions["libavcodec"]))
    return f"pyav-{metadata.version('av')}/libavcodec-{codecs}"


def decode_clip(
    payload: bytes, rate_hz: int, bounds: ClipBounds, admit: AdmitSeconds | None = None
) -> DecodedClip | ClipFault:
    """The samples of one audio member at `rate_hz`, or the reason why it has none."""
    container = container_of(payload)
    if container is None:
        return decode.decode_clip(payload, rate_hz, bounds, admit)
    return _with_track(
        payload, container, lambda file, stream: _read(file, stream, rate_hz, bounds, admit)
    )


def _read(
    file: Any, stream: Any, rate_hz: int, bounds: ClipBounds, admit: AdmitSeconds | None
) -> DecodedClip | ClipFault:
    source_hz, channels = int(stream.rate or 0), int(stream.channels or 0)
    # The container's length may be a guess: it is the length that was read that counts.
    fault = check_declared(0, source_hz, channels, rate_hz, bounds)
    if fault:
        return fault
    if admit:
        known = file.duration / _MICROSECONDS if file.duration else bounds.longest_seconds
        admit(min(known, bounds.hard_max_seconds))
    pieces, num_samples = [], 0
    for frame in _frames(file, stream):
        if isinstance(frame, ClipFault):
            return frame
        pieces.append(mono(frame))
        num_samples += len(frame)
        fault = too_long(num_samples, source_hz, bounds)
        if fault:
            return fault
    samples = np.concatenate(pieces) if pieces else np.zeros(0, np.float32)
    return checked_clip(resample(samples, source_hz, rate_hz), num_samples, source_hz)


def _frames(file: Any, stream: Any) -> Iterator[Samples | ClipFault]:
    """The sound of a track in pieces `[samples, channels]`, or why it ends."""
    source_hz = stream.rate
    stream.codec_context.thread_count = 1
    # The sound keeps rate and channels; only the type of its samples changes.
    to_floats = _import_av().AudioResampler(format="fltp")
    for frame in file.decode(stream):
        if frame.sample_rate != source_hz:
            detail = f"its rate changes from {source_hz} to {frame.sample_rate} Hz"
            yield ClipFault(Reason.BAD_SAMPLE_RATE, detail)
            return
        for plain in to_floats.resample(frame):
            yield np.ascontiguousarray(plain.to_ndarray().T, dtype=np.float32)


def read_recording(payload: bytes, container: Container) -> tuple[Samples, int] | ClipFault:
    """All samples `[samples, channels]` of a recording and its rate, for who cuts it."""

    def read(file: Any, stream: Any) -> tuple[Samples, int] | ClipFault:
        rate_hz, size = int(stream.rate), 0
        pieces: list[Samples] = []
        for frame in _frames(file, stream):
            if isinstance(frame, ClipFault):
                return frame
            pieces.append(frame)
            size += frame.nbytes
            if size > _MAX_RECORDING_BYTES:
                detail = f"decoded it is larger than {_MAX_RECORDING_BYTES >> 30} GiB: cut it first"
                return ClipFault(Reason.TOO_BIG, detail)
        if not pieces:
            return ClipFault(Reason.EMPTY, "the audio has no samples")
        return np.concatenate(pieces), rate_hz

    return _with_track(payload, container, read)


def _with_track(
    payload: bytes, container: Container, read: Callable[[Any, Any], T | ClipFault]
) -> T | ClipFault:
    """What `read` makes of the file and its track of audio."""
    av = _import_av()
    try:
        with av.open(io.BytesIO(payload), format=container.ffmpeg_name) as file:
            if not file.streams.audio:
                return ClipFault(Reason.UNDECODABLE, f"{container.name} without a track of audio")
            return read(file, file.streams.audio[0])
    except av.FFmpegError as error:
        said = " ".join(str(error).split())[:150]
        return ClipFault(Reason.UNDECODABLE, f"{container.name} that FFmpeg does not take: {said}")


def _import_av() -> Any:
    try:
        import av
    except ImportError as error:
        raise UsageError(
            f"`--pyav` needs the package PyAV, which is not installed here ({error}); expected it "
            "here and on every worker; `pip install 'xytok[av]'`"
        ) from error
    return av
