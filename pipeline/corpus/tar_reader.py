"""A streaming tar reader that goes on after damage and reports every hole.

Where a header is not valid, it searches the next valid one (checksum and magic, at any byte, also
inside the previous member) and goes on there. Memory does not grow with the shard. The reading
thread of a worker uses it, and so does sampling.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from pipeline.corpus.tar_header import (
    BLOCK,
    EXTENSION_TYPES,
    GNU_LONG_NAME,
    LINK_TYPES,
    PAX_MEMBER,
    REGULAR_TYPES,
    ZERO_BLOCK,
    TarHeader,
    decode_name,
    find_header,
    parse_header,
    parse_number,
    parse_pax,
)
from pipeline.storage.streams import ByteStream

# The most that long names and PAX records may have; a larger one is not read.
_MAX_EXTENSION_BYTES = 1 << 20
_SEARCHED_BYTES = 1 << 20
_END_BLOCKS = 2


@dataclass(frozen=True, slots=True)
class Hole:
    """A range of bytes of a tar that could not be read as members, or that may be wrong.

    The members in a range of the kind `checksum` were read, but gzip's checksum of it is wrong.
    """

    offset: int
    size_bytes: int
    kind: str


@dataclass(frozen=True, slots=True)
class TarMember:
    """A regular file of the tar; `payload` is None when it is larger than allowed.

    `link` is where a link leads, which is a member without payload. In other shards a member is the
    audio of a row or line, whose number is then the offset.
    """

    name: str
    offset: int
    size: int
    payload: bytes | None
    is_cut: bool = False
    link: str = ""


class TarReader:
    """Iterates over the files and links of a tar; `holes` is complete after the iteration."""

    def __init__(
        self, stream: ByteStream, *, size_bytes: int | None, max_member_bytes: int
    ) -> None:
        self._stream = stream
        self._size_bytes = size_bytes
        self._max_member_bytes = max_member_bytes
        self._name: str | None = None
        self._claimed_size: int | None = None
        # A member is given out only after the next header was read, because damage between them may
        # have cut it.
        self._waiting: TarMember | None = None
        self._padding = b""
        self.holes: list[Hole] = []
        self.members = 0

    def __iter__(self) -> Iterator[TarMember]:
        """Every file, whole or cut, and every link, in the order of the tar."""
        yield from self._members()
        self.holes += [Hole(offset, size, "checksum") for offset, size in self._stream.damaged]

    def _members(self) -> Iterator[TarMember]:
        while True:
            start = self._stream.offset
            block = self._stream.take(BLOCK)
            header = parse_header(block)
            if header is not None:
                yield from self._release()
                self._follow(header)
            elif block == ZERO_BLOCK and not self._has_swallowed():
                yield from self._release()
                if self._pass_zeros(start):
                    return
            else:
                found = self._resync(start, block)
                yield from self._release()
                if not found:
                    return

    def _release(self) -> Iterator[TarMember]:
        if self._waiting is not None:
            member, self._waiting = self._waiting, None
            self.members += 1
            yield member

    def _follow(self, header: TarHeader) -> None:
        if header.type in EXTENSION_TYPES:
            self._read_extension(header)
            return
        if self._name is not None:
            header = replace(header, name=self._name)
        if self._claimed_size is not None:
            header = replace(header, size=self._claimed_size)
        self._name = self._claimed_size = None
        # Old tars store a folder as a file whose name ends in a slash.
        if header.type in REGULAR_TYPES and not header.name.endswith("/"):
            self._read_member(header)
        elif header.type in LINK_TYPES:
            self._waiting = TarMember(header.name, self._stream.offset, 0, None, link=header.link)
        else:
            self._skip_claimed(header)

    def _read_member(self, header: TarHeader) -> None:
        offset = self._stream.offset
        if header.size > self._max_member_bytes:
            self._waiting = TarMember(header.name, offset, header.size, None)
            self._skip_claimed(header)
            return
        payload = self._stream.take(header.size)
        is_cut = len(payload) < header.size
        self._waiting = TarMember(header.name, offset, header.size, payload, is_cut)
        self._padding = b"" if is_cut else self._stream.take(header.padded_size - header.size)

    def _skip_claimed(self, header: TarHeader) -> None:
        """Skip a payload that is not wanted, unless the file is shorter than its size claims."""
        if self._size_bytes is None:
            self._skip_to_header(header.padded_size)
        elif self._stream.offset + header.size <= self._size_bytes:
            self._stream.skip(header.padded_size)

    def _skip_to_header(self, size: int) -> None:
        """Skip `size` bytes, but stop at a header among them, because then the size was wrong.

        The end of this stream is unknown, so a size of 100 GB cannot be compared with it, and the
        stream cannot go back to the members that such a size would skip.
        """
        start, tail = self._stream.offset, b""
        while left := start + size - self._stream.offset:
            chunk = self._stream.take(min(left, _SEARCHED_BYTES))
            if not chunk:
                return
            window = tail + chunk
            found = find_header(window)
            if found >= 0:
                self._stream.push_back(window[found:])
                self._add_hole(start, "garbage")
                return
            tail = window[-(BLOCK - 1) :]

    def _read_extension(self, header: TarHeader) -> None:
        if header.size > _MAX_EXTENSION_BYTES:
            return
        payload = self._stream.take(header.padded_size)[: header.size]
        if header.type == GNU_LONG_NAME:
            self._name = decode_name(payload)
        elif header.type == PAX_MEMBER:
            records = parse_pax(payload) or {}
            if b"path" in records:
                self._name = decode_name(records[b"path"])
            if b"size" in records:
                text = records[b"size"]
                is_number = text.isdigit() and len(text) < 20
                self._claimed_size = parse_number(b"%o" % int(text)) if is_number else None

    def _pass_zeros(self, start: int) -> bool:
        """Skip zeros; True at the end of the file, False when something follows them."""
        while chunk := self._stream.take_available():
            rest = chunk.lstrip(b"\0")
            if rest:
                # A header begins with a name, so it begins at the first byte that is not zero.
                self._stream.push_back(rest)
                self._add_hole(start, "zeros")
                return False
        if self._stream.offset - start < _END_BLOCKS * BLOCK:
            self._add_hole(start, "no_end")
        return True

    def _has_swallowed(self) -> bool:
        """Whether the previous member lost bytes, so that its payload contains later headers.

        A header at the very beginning of the payload is no damage: the member is itself a tar.
        """
        waiting = self._waiting
        return waiting is not None and find_header(waiting.payload or b"") > 0

    def _resync(self, start: int, block: bytes) -> bool:
        """Find the next valid header after damage at `start`; False when there is none."""
        self._name = self._claimed_size = None
        self._stream.push_back(block)
        previous = self._waiting
        if previous is None or previous.payload is None:
            found = self._scan()
            self._add_hole(start, "garbage" if self._stream.offset > start else "no_end")
            return found
        # If the previous member lost bytes, its payload contains the headers that follow.
        self._stream.push_back(previous.payload + self._padding)
        found = self._scan()
        kept = self._stream.offset - previous.offset
        if previous.is_cut or kept < previous.size:
            self._waiting = replace(previous, payload=previous.payload[:kept], is_cut=True)
            self._add_hole(previous.offset, "cut")
        else:
            begin = min(start, self._stream.offset)
            self._add_hole(begin, "garbage" if self._stream.offset > begin else "no_end")
        return found

    def _scan(self) -> bool:
        """Move the stream to the next valid header; False when there is none."""
        tail = b""
        while chunk := self._stream.take_available():
            window = tail + chunk
            found = find_header(window)
            if found >= 0:
                self._stream.push_back(window[found:])
                return True
            tail = window[-(BLOCK - 1) :]
        return False

    def _add_hole(self, start: int, kind: str) -> None:
        self.holes.append(Hole(start, self._stream.offset - start, kind))
