import gzip
import io
import tarfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.corpus.tar_header import BLOCK, find_header, parse_header
from pipeline.corpus.tar_reader import TarMember, TarReader
from pipeline.storage.inflate import inflate
from pipeline.storage.streams import ByteStream
from tests.support.shard_maker import member_offsets, tar_bytes

MIB = 1 << 20


def read(content: bytes, size: int | None = -1, block: int = 4096, most: int = 64 * MIB):
    blocks = (content[at : at + block] for at in range(0, len(content), block))
    known = len(content) if size == -1 else size
    reader = TarReader(ByteStream(blocks), size_bytes=known, max_member_bytes=most)
    return list(reader), reader


def payloads(members: list[TarMember]) -> dict[str, bytes | None]:
    return {member.name: member.payload for member in members if not member.is_cut}


FILES = [(f"k{n}.mp3", bytes([n + 65]) * (700 + 311 * n)) for n in range(6)]


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize("block", [1, 511, 4096, MIB])
def test_a_whole_tar_gives_every_member_and_no_hole(form: int, block: int) -> None:
    files = [*FILES, ("d/" * 80 + "ü" * 40 + ".mp3", b"long"), ("empty.mp3", b"")]
    if form == tarfile.USTAR_FORMAT:
        files = [*FILES, ("empty.mp3", b"")]
    members, reader = read(tar_bytes(files, form=form), block=block)
    assert payloads(members) == dict(files)
    assert reader.holes == []
    assert reader.members == len(files)


def test_offsets_point_at_the_payload() -> None:
    content = tar_bytes(FILES)
    members, _ = read(content)
    for member in members:
        assert content[member.offset : member.offset + member.size] == member.payload


def test_an_empty_tar_is_whole_and_an_empty_file_is_not() -> None:
    assert read(tar_bytes([]))[1].holes == []
    assert [hole.kind for hole in read(b"")[1].holes] == ["no_end"]


def test_a_missing_end_of_archive_is_a_hole_that_costs_no_member() -> None:
    whole = tar_bytes(FILES)
    last = member_offsets(whole)["k5.mp3"][1] + -(-len(FILES[5][1]) // BLOCK) * BLOCK
    members, reader = read(whole[:last])
    assert payloads(members) == dict(FILES)
    assert [(hole.kind, hole.size_bytes) for hole in reader.holes] == [("no_end", 0)]


def test_a_truncated_member_is_cut_and_named() -> None:
    whole = tar_bytes(FILES)
    members, reader = read(whole[: member_offsets(whole)["k4.mp3"][1] + 100])
    assert [m.name for m in members if m.is_cut] == ["k4.mp3"]
    assert payloads(members) == dict(FILES[:4])
    assert len(reader.holes) == 1


def test_a_bad_checksum_costs_its_own_member_only() -> None:
    content = bytearray(tar_bytes(FILES))
    content[member_offsets(bytes(content))["k2.mp3"][0] + 150] ^= 1
    members, reader = read(bytes(content))
    assert payloads(members) == {name: data for name, data in FILES if name != "k2.mp3"}
    assert [hole.kind for hole in reader.holes] == ["garbage"]


@pytest.mark.parametrize("length", [1, 511, 512, 513, 10_000])
def test_garbage_between_members_costs_none_whatever_its_length(length: int) -> None:
    whole = tar_bytes(FILES)
    at = member_offsets(whole)["k3.mp3"][0]
    members, reader = read(whole[:at] + b"\xa5" * length + whole[at:])
    assert payloads(members) == dict(FILES)
    assert [(h.offset, h.size_bytes, h.kind) for h in reader.holes] == [(at, length, "garbage")]


@pytest.mark.parametrize("blocks", [1, 2, 20, 3000])
def test_zero_blocks_in_the_middle_are_no_end(blocks: int) -> None:
    whole = tar_bytes(FILES)
    at = member_offsets(whole)["k3.mp3"][0]
    members, reader = read(whole[:at] + bytes(blocks * BLOCK) + whole[at:])
    assert payloads(members) == dict(FILES)
    assert [(h.size_bytes, h.kind) for h in reader.holes] == [(blocks * BLOCK, "zeros")]


def test_bytes_lost_inside_a_member_do_not_swallow_its_neighbours() -> None:
    whole = tar_bytes(FILES)
    at = member_offsets(whole)["k1.mp3"][1]
    members, reader = read(whole[: at + 50] + whole[at + 250 :])
    assert [m.name for m in members if m.is_cut] == ["k1.mp3"]
    assert payloads(members) == {name: data for name, data in FILES if name != "k1.mp3"}
    assert [hole.kind for hole in reader.holes] == ["cut"]


@pytest.mark.parametrize("known", [True, False])
def test_a_member_that_claims_100_gb_is_given_without_payload(known: bool) -> None:
    content = bytearray(tar_bytes(FILES))
    header = tarfile.TarInfo("k2.mp3")
    header.size = 100 * 10**9
    at = member_offsets(bytes(content))["k2.mp3"][0]
    content[at : at + BLOCK] = header.tobuf(tarfile.GNU_FORMAT)
    members, reader = read(bytes(content), size=-1 if known else None)
    assert payloads(members) == dict(FILES) | {"k2.mp3": None}
    assert len(reader.holes) == 1


def test_a_truly_big_member_is_passed_over_without_a_hole() -> None:
    files = [FILES[0], ("big.mp3", tar_bytes([("inner.mp3", b"x" * 9000)])), FILES[1]]
    members, reader = read(tar_bytes(files), most=8192)
    assert payloads(members) == dict(files) | {"big.mp3": None}
    assert reader.holes == []


@pytest.mark.parametrize("block", [1, 511, 4096, 8 * MIB])
def test_too_big_members_are_no_damage_where_the_tars_size_is_unknown(block: int) -> None:
    sizes = [3 * BLOCK, 3 * BLOCK + 1, 2 * MIB + 7 if block > 511 else 9000]
    big = [(f"big{n}.mp3", b"x" * size) for n, size in enumerate(sizes)]
    files = [FILES[0], *big, FILES[1], ("last.mp3", b"y" * 9000)]
    members, reader = read(tar_bytes(files), size=None, block=block, most=1200)
    assert payloads(members) == dict(files) | dict.fromkeys(["last.mp3", *dict(big)])
    assert reader.holes == []


def test_a_too_big_member_that_is_cut_off_is_a_hole_where_the_tars_size_is_unknown() -> None:
    whole = tar_bytes([FILES[0], ("big.mp3", b"x" * 9000)])
    members, reader = read(whole[:8000], size=None, most=8192)
    assert payloads(members) == dict([FILES[0]]) | {"big.mp3": None}
    assert len(reader.holes) == 1


def test_names_that_are_not_utf8_stay_visible() -> None:
    info = tarfile.TarInfo("caf\udce9.mp3")
    block = info.tobuf(tarfile.USTAR_FORMAT, "utf-8", "surrogateescape")
    members, _ = read(block + bytes(2 * BLOCK))
    assert members[0].name == r"caf\xe9.mp3"


def test_folders_are_no_members_and_links_are_named_without_a_payload() -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for kind in (tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE):
            info = tarfile.TarInfo(f"x{kind.decode()}.mp3")
            info.type, info.linkname = kind, "/etc/passwd"
            tar.addfile(info)
        info = tarfile.TarInfo("real.mp3")
        info.size = 4
        tar.addfile(info, io.BytesIO(b"real"))
    members, reader = read(buffer.getvalue())
    assert payloads(members) == {"x2.mp3": None, "x1.mp3": None, "real.mp3": b"real"}
    assert [member.link for member in members] == ["/etc/passwd", "/etc/passwd", ""]
    assert reader.holes == []


def test_gzip_is_read_and_its_truncation_is_a_hole() -> None:
    packed = gzip.compress(tar_bytes(FILES), mtime=0)
    whole = b"".join(inflate(iter([packed[:100], packed[100:]]), "x.tar.gz"))
    assert payloads(read(whole, size=None)[0]) == dict(FILES)
    cut = b"".join(inflate(iter([packed[: len(packed) // 2]]), "x.tar.gz"))
    assert read(cut, size=None)[1].holes


def test_memory_does_not_grow_with_the_number_of_members() -> None:
    import tracemalloc

    member = tar_bytes([("a.mp3", b"x" * 400)])[: 2 * BLOCK]

    def blocks(count: int):
        for _ in range(count):
            yield member
        yield bytes(2 * BLOCK)

    def peak(count: int) -> int:
        tracemalloc.start()
        reader = TarReader(ByteStream(blocks(count)), size_bytes=None, max_member_bytes=MIB)
        assert sum(1 for _ in reader) == count
        high = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return high

    assert peak(4000) < peak(400) + 20_000


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**64), st.integers(1, 40))
def test_changed_bytes_never_move_a_whole_member(seed: int, changes: int) -> None:
    import random

    chance = random.Random(seed)
    content = bytearray(tar_bytes(FILES))
    spots = {chance.randrange(len(content)): chance.randrange(256) for _ in range(changes)}
    for spot, value in spots.items():
        content[spot] = value
    members, _ = read(bytes(content))
    for member in members:
        if member.payload is not None and not member.is_cut:
            stored = content[member.offset : member.offset + member.size]
            assert bytes(stored) == member.payload


@given(st.binary(max_size=2000))
def test_no_bytes_crash_the_header_parser(content: bytes) -> None:
    parse_header(content[:BLOCK])
    assert find_header(content) == -1
