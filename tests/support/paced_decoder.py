"""Decoders and codecs for tests of death: slow enough to be met at work, or deadly on purpose."""

import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.worker.codec_request import CodecRequest
from tests.support.aborting_decoder import decode_or_abort
from xy_codec.contract import Codec, Codes, Tag, Waveform
from xy_codec.fake import FakeCodec

# The variable that names a file; while it exists, nothing is decoded.
GATE = "PACED_GATE"
CLIP_SECONDS = 0.05
DEADLY_SECONDS = 1.7


def decode_slowly(payload: bytes, *rest: Any) -> Any:
    """Decode like the real one, at 20 clips a second, and abort on marked clips."""
    while GATE in os.environ and Path(os.environ[GATE]).exists():
        time.sleep(CLIP_SECONDS)
    time.sleep(CLIP_SECONDS)
    return decode_or_abort(payload, *rest)


class DeadlyCodec(FakeCodec):
    """Ends its process, raises or hangs when it meets a clip of a certain length."""

    way = "ends"

    def encode_stream(self, clips: Iterable[tuple[Tag, Waveform]]) -> Iterator[tuple[Tag, Codes]]:
        return super().encode_stream(self._survivors(clips))

    def _survivors(self, clips: Iterable[tuple[Tag, Waveform]]) -> Iterator[tuple[Tag, Waveform]]:
        for tag, waveform in clips:
            if abs(len(waveform) / 16000 - DEADLY_SECONDS) < 0.05:
                if self.way == "raises":
                    raise RuntimeError("this clip breaks the codec")
                if self.way == "hangs":
                    time.sleep(3600)
                os._exit(9)
            yield tag, waveform


@dataclass(frozen=True, slots=True)
class DeadlyRequest(CodecRequest):
    """Asks for the deadly codec; `raises` or `hangs` as its source asks for the other forms."""

    def load(self) -> Codec:
        codec = DeadlyCodec()
        codec.way = self.source
        return codec
