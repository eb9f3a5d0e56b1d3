"""Parses one 512-byte tar header: checksum, numbers, names, and extended headers of PAX and GNU.

`tar_reader.py` calls it; it reads no stream.
"""

from dataclasses import dataclass

BLOCK = 512
MAGIC = b"ustar"
MAGIC_AT = 257
ZERO_BLOCK = bytes(BLOCK)

REGULAR_TYPES = frozenset((b"0", b"\0", b"7"))
GNU_LONG_NAME = b"L"
GNU_LONG_LINK = b"K"
PAX_MEMBER = b"x"
PAX_GLOBAL = b"g"
EXTENSION_TYPES = frozenset((GNU_LONG_NAME, GNU_LONG_LINK, PAX_MEMBER, PAX_GLOBAL))
LINK_TYPES = frozenset((b"1", b"2"))
# Links, devices, folders and pipes have no payload, even when their size field is not 0.
EMPTY_TYPES = LINK_TYPES | frozenset((b"3", b"4", b"5", b"6"))

# The checksum counts its own eight bytes as spaces.
_CHECKSUM = slice(148, 156)
_SPACES = 8 * 32


@dataclass(frozen=True, slots=True)
class TarHeader:
    """The name, type and size of a member, from a valid header, and where a link leads."""

    name: str
    type: bytes
    size: int
    link: str = ""

    @property
    def padded_size(self) -> int:
        """The size of the payload with its padding to whole blocks."""
        return -(-self.size // BLOCK) * BLOCK


def parse_header(block: bytes) -> TarHeader | None:
    """The header in a block of 512 bytes; None when checksum, magic or numbers are not valid."""
    if len(block) != BLOCK:
        return None
    stored = parse_number(block[_CHECKSUM])
    if stored is None or not _checksum_matches(block, stored):
        return None
    magic = block[MAGIC_AT : MAGIC_AT + 8]
    if not magic.startswith(MAGIC) and magic != bytes(8):
        return None
    size = parse_number(block[124:136])
    name = _name_of(block, magic)
    if size is None or not name:
        return None
    kind = block[156:157]
    if kind in EMPTY_TYPES:
        size = 0
    link = decode_name(block[157:257]) if kind in LINK_TYPES else ""
    return TarHeader(name, kind, size, link)


def parse_number(field: bytes) -> int | None:
    """The number in an octal or base-256 field; None when it is not valid."""
    if field[0] == 0x80:
        return int.from_bytes(field[1:], "big")
    try:
        return int(field.strip(b" \0") or b"0", 8)
    except ValueError:
        return None


def parse_pax(payload: bytes) -> dict[bytes, bytes] | None:
    """The records `length key=value` of a PAX header; None when they are damaged."""
    records: dict[bytes, bytes] = {}
    position = 0
    while position < len(payload) and payload[position] != 0:
        space = payload.find(b" ", position, position + 20)
        digits = payload[position : max(space, position)]
        if not digits.isdigit():
            return None
        end = position + int(digits)
        key, equals, value = payload[space + 1 : end - 1].partition(b"=")
        if not equals or end <= space or end > len(payload) or payload[end - 1 : end] != b"\n":
            return None
        records[key] = value
        position = end
    return records


def decode_name(raw: bytes) -> str:
    """The name of a member as text; bytes that are not UTF-8 become `\\xNN`."""
    return raw.split(b"\0", 1)[0].decode("utf-8", "backslashreplace")


def find_header(window: bytes, start: int = 0) -> int:
    """Where the first valid header with magic begins at or after `start`; -1 when there is none."""
    at = window.find(MAGIC, start + MAGIC_AT)
    while at >= 0:
        begin = at - MAGIC_AT
        if parse_header(window[begin : begin + BLOCK]) is not None:
            return begin
        at = window.find(MAGIC, at + 1)
    return -1


def _checksum_matches(block: bytes, stored: int) -> bool:
    unsigned = sum(block) - sum(block[_CHECKSUM]) + _SPACES
    if unsigned == stored:
        return True
    # Some old writers summed signed bytes.
    high = sum(byte > 127 for byte in block) - sum(byte > 127 for byte in block[_CHECKSUM])
    return unsigned - 256 * high == stored


def _name_of(block: bytes, magic: bytes) -> str:
    name = decode_name(block[:100])
    if magic == b"ustar\x0000" and block[345]:
        return f"{decode_name(block[345:500])}/{name}"
    return name
