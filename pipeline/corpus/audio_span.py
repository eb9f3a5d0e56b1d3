"""Cuts a span or a channel out of an audio file, as a sound file in memory of its own.

`list_clips.py` calls it for the segments of long recordings. A cut clip has bytes of its own, so
that everything behind it takes it as any other clip. Equal files and spans give equal bytes.
"""

import io
import struct
from dataclasses import dataclass

import numpy as np
import soundfile

from pipeline.corpus.audio_list import Span
from pipeline.corpus.decode import ClipFault, container_of
from pipeline.corpus.reject_reasons import Reason
from xy_codec.mp3_frames import with_length

# Segments are often a little longer than their recording, because of rounding.
_SPARE_SECONDS = 0.5
_FLOAT = 3


@dataclass(frozen=True, slots=True)
class SpanFault:
    """Why nothing could be cut."""

    reason: Reason
    detail: str


def plain_recording(payload: bytes, *, pyav: bool) -> bytes | SpanFault:
    """The same file, or, where only PyAV reads it, its sound as a WAV of floats."""
    container = container_of(payload)
    if container is None:
        return payload
    if not pyav:
        return SpanFault(Reason.UNDECODABLE, container.remedy)
    from pipeline.corpus.pyav_decode import read_recording

    found = read_recording(payload, container)
    return SpanFault(found.reason, found.detail) if isinstance(found, ClipFault) else _wav(*found)


def cut_span(payload: bytes, span: Span, max_bytes: int) -> bytes | SpanFault:
    """The span of an audio file as a WAV of floats."""
    try:
        with soundfile.SoundFile(io.BytesIO(with_length(payload))) as file:
            return _cut(file, span, max_bytes)
    except (soundfile.SoundFileError, RuntimeError) as error:
        said = " ".join(str(getattr(error, "error_string", error)).split())[:150]
        detail = f"no segment can be cut out of what libsndfile does not read: {said}"
        return SpanFault(Reason.UNDECODABLE, detail)


def _cut(file: soundfile.SoundFile, span: Span, max_bytes: int) -> bytes | SpanFault:
    rate, whole = file.samplerate, file.frames
    first = round(span.start * rate)
    last = whole if span.end is None else round(span.end * rate)
    if last > whole + _SPARE_SECONDS * rate or first >= whole:
        detail = f"the recording ends at {whole / rate:.3f} s, the segment at {last / rate:.3f} s"
        return SpanFault(Reason.CUT_OFF, detail)
    if span.channel is not None and span.channel >= file.channels:
        detail = f"there is no channel {span.channel} among {file.channels}"
        return SpanFault(Reason.UNDECODABLE, detail)
    channels = file.channels if span.channel is None else 1
    size = max(0, min(last, whole) - first) * channels * 4
    if size > max_bytes:
        return SpanFault(Reason.TOO_BIG, f"{size} bytes; at most {max_bytes} are allowed")
    file.seek(first)
    samples = file.read(max(0, min(last, whole) - first), "float32", always_2d=True)
    if span.channel is not None:
        samples = samples[:, span.channel : span.channel + 1]
    return _wav(samples, rate)


def _wav(samples: np.ndarray[tuple[int, ...], np.dtype[np.float32]], rate_hz: int) -> bytes:
    # Not by libsndfile, which writes the time of day into a WAV of floats.
    content = np.ascontiguousarray(samples, "<f4").tobytes()
    channels = samples.shape[1]
    step = 4 * channels
    form = struct.pack("<HHIIHH", _FLOAT, channels, rate_hz, rate_hz * step, step, 32)
    fact = struct.pack("<4sII", b"fact", 4, len(samples))
    body = b"WAVEfmt " + struct.pack("<I", len(form)) + form + fact
    body += b"data" + struct.pack("<I", len(content)) + content
    return b"RIFF" + struct.pack("<I", len(body)) + body
