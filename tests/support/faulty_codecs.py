"""Audio decoders and codecs that abort, hang or are slow on purpose: what a worker must survive.

Workers import them by name, so nothing here may import torch.
"""

import os
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ray import get_runtime_context

from pipeline.corpus.decode import DecodedClip, decode_clip
from pipeline.errors import NodeError
from pipeline.output import parquet_file
from pipeline.worker import decode_child
from pipeline.worker.codec_request import CodecRequest
from xy_codec.contract import Codec, Encoded, Tag, Waveform
from xy_codec.fake import FakeCodec

# What the bytes of a deadly clip begin with.
ABORT = b"please abort"
HANG = b"please hang"
# The variable that names a file; while it exists, nothing is decoded.
GATE = "PACED_GATE"
# The variable that names a file, which the first try of a clip leaves.
FIRST_TRY = "FIRST_TRY"
CLIP_SECONDS = 0.05
DEADLY_SECONDS = 1.7


def decode_or_abort(payload: bytes, *rest: Any) -> Any:
    """Decode like the real one, but end the process or hang on a marked clip."""
    if payload.startswith(ABORT):
        os.abort()
    if payload.startswith(HANG):
        time.sleep(3600)
    return decode_clip(payload, *rest)


def decode_slowly(payload: bytes, *rest: Any) -> Any:
    """Decode like the real one, at 20 clips a second, and abort on marked clips."""
    while GATE in os.environ and Path(os.environ[GATE]).exists():
        time.sleep(CLIP_SECONDS)
    time.sleep(CLIP_SECONDS)
    return decode_or_abort(payload, *rest)


def decode_at_the_second_try(payload: bytes, *rest: Any) -> Any:
    """Decode like the real one, but end the process at the first clip of a second or longer."""
    clip = decode_clip(payload, *rest)
    if isinstance(clip, DecodedClip) and clip.num_samples >= clip.sample_rate:
        with suppress(FileExistsError):
            Path(os.environ[FIRST_TRY]).touch(exist_ok=False)
            os.abort()
    return clip


def decode_without_memory(payload: bytes, *rest: Any) -> Any:
    """Decode short clips like the real one; there is no memory for one of a second or longer."""
    clip = decode_clip(payload, *rest)
    if isinstance(clip, DecodedClip) and clip.num_samples >= clip.sample_rate:
        raise NodeError("this machine has no memory")
    return clip


class DeadlyCodec(FakeCodec):
    """Ends its process, raises or hangs when it meets a clip of a certain length."""

    way = "ends"

    def encode_stream(self, clips: Iterable[tuple[Tag, Waveform]]) -> Iterator[tuple[Tag, Encoded]]:
        return super().encode_stream(self._survivors(clips))

    def _survivors(self, clips: Iterable[tuple[Tag, Waveform]]) -> Iterator[tuple[Tag, Waveform]]:
        for tag, waveform in clips:
            if abs(len(waveform) / 16000 - DEADLY_SECONDS) < 0.05:
                if self.way == "raises":
                    raise RuntimeError("this clip breaks the codec")
                if self.way == "no process":
                    raise NodeError("no process starts here")
                if self.way == get_runtime_context().get_node_id():
                    raise NodeError("no process starts on this node")
                if self.way == "hangs":
                    time.sleep(3600)
                if self.way == "ends":
                    os._exit(9)
            yield tag, waveform


@dataclass(frozen=True, slots=True)
class DeadlyRequest(CodecRequest):
    """Asks for the deadly codec; its source names the form, or a node that cannot do the work."""

    def check(self, *, may_be_elsewhere: bool = False) -> None:
        """Take any source: it is not the name of a codec."""

    def load(self) -> Codec:
        codec = DeadlyCodec()
        codec.way = self.source
        return codec


@dataclass(frozen=True, slots=True)
class ImpatientRequest(CodecRequest):
    """Asks for a codec whose worker gives a decoding process three seconds for a clip."""

    def load(self) -> Codec:
        decode_child.HANG_SECONDS = 3.0
        return FakeCodec()


@dataclass(frozen=True, slots=True)
class SpillingRequest(CodecRequest):
    """Asks for a codec whose worker builds every part on its disk, as it does those over 64 MB."""

    def load(self) -> Codec:
        parquet_file._MEMORY_BYTES = 0
        return FakeCodec()
