"""A streaming tar reader that never takes damage for the end of the archive.

Where a header should be and is not, it looks for the next valid one (checksum and magic, at any
byte, also inside the member before), goes on there and reports the hole. It keeps no list of what
it saw: memory does not grow with the shard.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from pipeline.corpus.tar_header import (
    BLOCK,
    EXTENSION_TYPES,
    GNU_LONG_NAME,
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

# Long names and PAX records; a header that claims more is not one.
_MAX_EXTENSION_BYTES = 1 << 20
_SEARCHED_BYTES = 1 << 20
_END_BLOCKS = 2


@dataclass(frozen=True, slots=True)
class Hole:
    """A stretch of a tar that could not be read as members."""

    offset: int
    size_bytes: int
    kind: str


@dataclass(frozen=True, slots=True)
class TarMember:
    """A regular file of the tar; `payload` is None when it was too big to be read."""

    name: str
    offset: int
    size: int
    payload: bytes | None
    is_cut: bool = False


class TarReader:
    """Iterate over the regular members of a tar; read `holes` once the iteration is over."""

    def __init__(
        self, stream: ByteStream, *, size_bytes: int | None, max_member_bytes: int
    ) -> None:
        self._stream = stream
        self._size_bytes = size_bytes
        self._max_member_bytes = max_member_bytes
        self._name: str | None = None
        self._claimed_size: int | None = None
        # A member is given out only once what follows it is known: damage may reach back into it.
        self._waiting: TarMember | None = None
        self._padding = b""
        self.holes: list[Hole] = []
        self.members = 0

    def __iter__(self) -> Iterator[TarMember]:
        """Every regular member, whole or cut, in the order of the tar."""
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
        # Before POSIX, folders were files with a slash at the end of their names.
        if header.type in REGULAR_TYPES and not header.name.endswith("/"):
            self._read_member(header)
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
        """Pass over a payload that is not wanted, unless its size cannot be true."""
        if self._size_bytes is None:
            self._skip_to_header(header.padded_size)
        elif self._stream.offset + header.size <= self._size_bytes:
            self._stream.skip(header.padded_size)

    def _skip_to_header(self, size: int) -> None:
        """Pass over `size` bytes, or to a header among them: so the size was not true.

        A stream of unknown end cannot tell that 100 GB are too many, nor go back to what they hid.
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
                self._claimed_size = parse_number_text(records[b"size"])

    def _pass_zeros(self, start: int) -> bool:
        """Consume zeros; True at the end of the file, False when something follows them."""
        while chunk := self._stream.take_available():
            rest = chunk.lstrip(b"\0")
            if rest:
                # A header begins with its name, so what follows the zeros is not zero.
                self._stream.push_back(rest)
                self._add_hole(start, "zeros")
                return False
        if self._stream.offset - start < _END_BLOCKS * BLOCK:
            self._add_hole(start, "no_end")
        return True

    def _has_swallowed(self) -> bool:
        """Whether the member before lost bytes and took headers for its own, up to the end.

        A header at its very beginning is a tar within the tar, and no damage.
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
        # Bytes lost from the member before make it swallow the headers that follow.
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
        """Move the stream to the next valid header, or to its end."""
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


def parse_number_text(text: bytes) -> int | None:
    """A decimal number of a PAX record; None when it is not one."""
    return parse_number(b"%o" % int(text)) if text.isdigit() and len(text) < 20 else None
