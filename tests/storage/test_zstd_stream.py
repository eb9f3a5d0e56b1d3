"""Tars in Zstandard: read as they come, and past damage as far as it can be had."""

import random
import struct
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest
import xxhash

from pipeline.corpus.listing import list_shards
from pipeline.corpus.rules import ReadRules
from pipeline.corpus.sampling import sample_shards
from pipeline.errors import InputError
from pipeline.storage.client import Storage
from pipeline.storage.zstd_stream import decompress_zstd
from tests.support.inline_run import Result, run_shards
from tests.support.shard_maker import pairs, tar_bytes

_BLOCK = 1 << 16
CONTENT = random.Random(1).randbytes(300_000) + bytes(50_000)


def packed(content: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(content)
    return sink.getvalue().to_pybytes()


def framed(content: bytes, *, checksum: int) -> bytes:
    """A frame of stored blocks with the checksum of its content, as RFC 8878 has it."""
    frame = b"\x28\xb5\x2f\xfd" + bytes([0b1010_0100]) + struct.pack("<I", len(content))
    for start in range(0, len(content), _BLOCK):
        block = content[start : start + _BLOCK]
        is_last = start + _BLOCK >= len(content)
        frame += struct.pack("<I", is_last | len(block) << 3)[:3] + block
    return frame + struct.pack("<I", checksum & 0xFFFFFFFF)


def run(folder: Path, content: bytes) -> Result:
    folder.mkdir()
    (folder / "s.tar.zst").write_bytes(content)
    shards = list_shards([str(folder)], Storage())
    (result,) = run_shards(shards, folder / "out").values()
    return result


@pytest.mark.parametrize("size", [7, 4096, 1 << 20])
def test_frames_one_after_the_other_are_one_stream(size: int) -> None:
    content = packed(CONTENT[:200_000]) + packed(CONTENT[200_000:])
    blocks = (content[at : at + size] for at in range(0, len(content), size))
    assert b"".join(decompress_zstd(blocks, "x.tar.zst")) == CONTENT


def test_clips_are_those_of_the_tar_without_offsets(tmp_path: Path) -> None:
    result = run(tmp_path / "in", packed(tar_bytes(pairs(6, 0.4))))
    assert len(result.rows) == 6
    assert {row["tar_offset"] for row in result.rows} == {None}
    assert result.manifest.holes == ()
    shards = list_shards([str(tmp_path / "in")], Storage())
    assert sample_shards(shards, Storage(), ReadRules()).clips == 6


def test_what_lies_before_a_break_becomes_codes_and_the_shard_is_damaged(tmp_path: Path) -> None:
    tar = tar_bytes(pairs(6, 0.4))
    first = packed(tar[: len(tar) // 2])
    result = run(tmp_path / "in", first + b"\xff" * 9000)
    assert len(result.rows) >= 2
    assert result.manifest.holes


def test_a_break_does_not_hide_that_the_source_was_replaced() -> None:
    def blocks() -> Iterator[bytes]:
        yield packed(CONTENT)[:200_000]
        yield b"\xff" * 9000
        raise InputError("it was replaced while it was read")

    with pytest.raises(InputError, match="was replaced"):
        list(decompress_zstd(blocks(), "x.tar.zst"))


def test_a_wrong_checksum_is_named_and_costs_the_last_block_at_most(tmp_path: Path) -> None:
    tar = tar_bytes(pairs(60, 0.4))
    right = xxhash.xxh64_intdigest(tar)
    assert run(tmp_path / "right", framed(tar, checksum=right)).manifest.holes == ()
    result = run(tmp_path / "wrong", framed(tar, checksum=right + 1))
    assert len(result.rows) > 30
    hole = result.manifest.holes[-1]
    assert (hole.offset, hole.kind) == (0, "checksum")
    assert len(tar) - 2 * _BLOCK < hole.size_bytes <= len(tar)
