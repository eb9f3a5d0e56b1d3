"""MP3 of varying bit rate whose number of frames nothing states: libsndfile would cut it.

Without a Xing header libsndfile guesses the length from the bit rate of the first frame, and reads
no further. The same happens to MP3 files that were joined end to end: the header of the first
states only its own frames. Whoever reads MP3 by libsndfile gives such files a header that states
all of them.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

# In kbit/s, of MPEG 1 and of versions 2 and 2.5.
_RATES_1 = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 0)
_RATES_2 = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160, 0)
# By the two bits of MPEG's version: 2.5, none, 2 and 1.
_SAMPLE_RATES_HZ = ((11025, 12000, 8000), (), (22050, 24000, 16000), (44100, 48000, 32000))
_MPEG_1 = 3
_MONO = 3
_SYNC = re.compile(rb"\xff[\xe2-\xe3\xf2-\xf3\xfa-\xfb]")
# A frame of so many kbit/s has room for a header of Xing at every sampling rate.
_ROOMY = 64
# Tags at the end of a file are smaller, but for pictures, which then are looked through.
_SPARE_BYTES = 4096


@dataclass(frozen=True, slots=True)
class _Frame:
    """The four bytes in front of a frame of layer III, taken apart."""

    head: bytes
    version: int
    rate: int
    size: int

    @property
    def tag_at(self) -> int:
        """Where a header of Xing stands in a frame: behind the side information."""
        is_mono = self.head[3] >> 6 == _MONO
        side = (17 if is_mono else 32) if self.version == _MPEG_1 else (9 if is_mono else 17)
        return 4 + side


def with_length(payload: bytes) -> bytes:
    """The same file; with a header that states all of its frames, where libsndfile needs one."""
    begin = _after_id3(payload)
    first = _frame_at(payload, begin)
    if first is None:
        return payload
    tag = payload[begin + first.tag_at : begin + first.tag_at + 16]
    is_tagged = tag[:4] in (b"Xing", b"Info")
    if payload[begin + 36 : begin + 40] == b"VBRI" or (is_tagged and not _is_joined(payload, tag)):
        return payload
    start = begin + first.size if is_tagged else begin
    count, is_even = _count_frames(payload, start, first)
    stated = int.from_bytes(tag[8:12], "big") if is_tagged else 0
    if count <= stated or (is_even and not is_tagged):
        return payload
    return _header(first, count) + payload[start:]


def _is_joined(payload: bytes, tag: bytes) -> bool:
    """Whether much more follows than a header of Xing states, frames and bytes."""
    stated = int.from_bytes(tag[12:16], "big") + _SPARE_BYTES
    return tag[7] & 3 == 3 and len(payload) - _after_id3(payload) > stated


def _after_id3(payload: bytes) -> int:
    if payload[:3] != b"ID3" or len(payload) < 10:
        return 0
    size = 0
    for byte in payload[6:10]:
        size = size << 7 | byte & 0x7F
    return 10 + size


def _frame_at(payload: bytes, at: int) -> _Frame | None:
    head = payload[at : at + 4]
    if len(head) < 4 or not _SYNC.match(head):
        return None
    version, rate, third = head[1] >> 3 & 3, head[2] >> 2 & 3, head[2]
    size = _sizes(version, rate).get(third, 0)
    return _Frame(head, version, rate, size) if size else None


@cache
def _sizes(version: int, rate: int) -> Mapping[int, int]:
    """The size of a frame by its third byte: bit rate, sampling rate, padding."""
    if rate >= len(_SAMPLE_RATES_HZ[version]):
        return {}
    kbits, scale = (_RATES_1, 144_000) if version == _MPEG_1 else (_RATES_2, 72_000)
    hz = _SAMPLE_RATES_HZ[version][rate]
    return {
        third: scale * kbits[third >> 4] // hz + (third >> 1 & 1)
        for third in range(256)
        if third >> 2 & 3 == rate and kbits[third >> 4]
    }


def _count_frames(payload: bytes, at: int, first: _Frame) -> tuple[int, bool]:
    """How many frames like the first follow, and whether all have one bit rate.

    What lies between frames is skipped, as decoders do.
    """
    # Frames of one stream differ in the second byte only by whether they have a checksum.
    kind, sizes = first.head[1] & 0xFE, _sizes(first.version, first.rate)
    count, last = 0, len(payload) - 4
    rates: set[int] = set()
    while at <= last:
        size = sizes.get(payload[at + 2])
        if size and payload[at] == 0xFF and payload[at + 1] & 0xFE == kind:
            count += 1
            rates.add(payload[at + 2] >> 4)
            at += size
        else:
            at = _next_frame(payload, at + 1, kind, sizes)
    return count, len(rates) < 2


def _next_frame(payload: bytes, at: int, kind: int, sizes: Mapping[int, int]) -> int:
    """Where the next frame is that another one follows; the end where there is none."""
    for found in _SYNC.finditer(payload, at):
        here = found.start()
        if found[0][1] & 0xFE != kind:
            continue
        size = sizes.get(payload[here + 2]) if here + 2 < len(payload) else None
        if size and payload[here + size : here + size + 1] in (b"", b"\xff"):
            return here
    return len(payload)


def _header(like: _Frame, count: int) -> bytes:
    """A silent frame with a header of Xing that states so many frames."""
    rates = _RATES_1 if like.version == _MPEG_1 else _RATES_2
    third = rates.index(_ROOMY) << 4 | like.head[2] & 0x0C
    # Without a checksum, which would have two bytes more.
    head = bytes([0xFF, like.head[1] | 1, third, like.head[3]])
    size = _sizes(like.version, like.rate)[third]
    tag = b"Xing" + (1).to_bytes(4, "big") + count.to_bytes(4, "big")
    return (head.ljust(like.tag_at, b"\0") + tag).ljust(size, b"\0")
