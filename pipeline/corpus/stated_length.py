"""The length that the header of uncompressed audio states, where libsndfile does not tell it.

libsndfile lowers the length of WAV, RF64, W64, AIFF, AU and NIST files to what is there, so a file
that was cut looks whole. `decode.py` asks here. Formats that it reads as stated (FLAC, MP3) or that
state no length (Ogg) are not looked at.
"""

import re
from collections.abc import Iterator

# Who writes into a pipe states 0, or about 2 or 4 GiB.
_NOT_MEANT = 0x7F000000
_NIST_HEAD = 1024
_NIST_COUNT = re.compile(rb"^sample_count -i (\d{1,12})\s*$", re.MULTILINE)
_W64_DATA = b"data\xf3\xac\xd3\x11\x8c\xd1\x00\xc0\x4f\x8e\xdb\x8a"


def stated_samples(payload: bytes, read_samples: int) -> int:
    """How many samples a channel the header states; `read_samples` where it states no more.

    Args:
        payload: the whole file.
        read_samples: how many libsndfile finds in what is there.
    """
    if payload[:7] == b"NIST_1A":
        found = _NIST_COUNT.search(payload[:_NIST_HEAD])
        return max(read_samples, int(found[1]) if found else 0)
    begin, stated = _data_of(payload)
    there = len(payload) - begin
    if not 0 < there < stated:
        return read_samples
    return read_samples * stated // there


def _data_of(payload: bytes) -> tuple[int, int]:
    """Where the samples begin and how many bytes of them are stated; 0 where that is unknown."""
    head, kind = payload[:4], payload[8:12]
    if head == b".snd":
        begin, stated = _number(payload[4:8], "big"), _number(payload[8:12], "big")
    elif head in (b"RIFF", b"RF64") and kind == b"WAVE":
        begin, stated = _riff(payload)
    elif head == b"FORM" and kind in (b"AIFF", b"AIFC"):
        sounds = (at for at, name, _ in _chunks(payload, "big") if name == b"SSND")
        begin = next(sounds, 0)
        stated = _number(payload[begin - 4 : begin], "big") if begin else 0
    elif head == b"riff" and payload[24:28] == b"wave":
        begin, stated = _w64(payload)
    else:
        return 0, 0
    return (begin, stated) if stated < _NOT_MEANT or head in (b"RF64", b"riff") else (begin, 0)


def _riff(payload: bytes) -> tuple[int, int]:
    long_size = 0
    for begin, name, size in _chunks(payload, "little"):
        if name == b"ds64":
            long_size = _number(payload[begin + 8 : begin + 16], "little")
        if name == b"data":
            return begin, long_size if size == 0xFFFFFFFF else size
    return 0, 0


def _w64(payload: bytes) -> tuple[int, int]:
    at = 40
    while at + 24 <= len(payload):
        size = _number(payload[at + 16 : at + 24], "little")
        if payload[at : at + 16] == _W64_DATA:
            return at + 24, size - 24
        at += max(24, size + -size % 8)
    return 0, 0


def _chunks(payload: bytes, order: str) -> Iterator[tuple[int, bytes, int]]:
    """Where the content of each chunk begins, its name and its size."""
    at = 12
    while at + 8 <= len(payload):
        size = _number(payload[at + 4 : at + 8], order)
        yield at + 8, payload[at : at + 4], size
        at += 8 + size + size % 2


def _number(content: bytes, order: str) -> int:
    return int.from_bytes(content, "big" if order == "big" else "little")
