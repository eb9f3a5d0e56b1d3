"""fish-speech protos: sentences of a speaker with one list of codes a codebook, length before each.

`TextData` of its `text-data.proto` is written here by hand: three message types with strings and
packed numbers.
"""

import re
import struct
from collections.abc import Iterable

from pipeline.export.contract import Format, Limits, Sample, ShardFiles

# Upstream drops what stands in these brackets from every text.
_MARKS = re.compile(r"\{.*?\}|<.*?>")


class Fish(Format):
    """One `TextData` a speaker and file."""

    name = "fish"
    options = ("dataset_name",)
    needs_text = True
    layout = "[K][T], no offset, no delay"

    def check(self) -> None:
        """Numbers are of any size."""

    @property
    def limits(self) -> Limits:
        """About 10 MB a file, as upstream."""
        return Limits(samples=None, size_bytes=10_000_000)

    def write_shard(self, samples: Iterable[Sample], files: ShardFiles) -> None:
        """One file, in which the clips of a speaker stand together."""
        speakers: dict[str, list[bytes]] = {}
        for sample in samples:
            sentence = _text(1, _MARKS.sub("", sample.text or ""))
            for book in sample.codes.tolist():
                values = b"".join(map(_varint, book))
                sentence += _bytes(3, _bytes(1, values))
            speakers.setdefault(sample.speaker or "", []).append(_bytes(4, sentence))
        file = files.open(f"{files.number:08d}.protos")
        source = _text(1, self.target.options.dataset_name or "speech")
        for speaker, sentences in speakers.items():
            record = source + _text(2, speaker) + b"".join(sentences)
            file.write(struct.pack("<I", len(record)) + record)


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _bytes(field: int, content: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(content)) + content


def _text(field: int, text: str) -> bytes:
    return _bytes(field, text.encode()) if text else b""  # proto3 leaves empty strings out
