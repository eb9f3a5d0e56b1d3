"""Gzip streams with wrong checksums: every byte is given, and the ranges in doubt are named."""

import gzip
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.corpus.listing import list_shards
from pipeline.corpus.tar_reader import Hole
from pipeline.errors import InputError
from pipeline.storage.client import Storage
from pipeline.storage.inflate import inflate
from tests.support.inline_run import run_shards
from tests.support.shard_maker import pairs, tar_bytes

CONTENT = random.Random(1).randbytes(9000) + bytes(50_000)
HALF = 20_000
CRC, LENGTH = -8, -4  # where they begin in a gzip member


def packed_in_two(content: bytes, half: int, *, wrong: int | None = None) -> bytes:
    first = bytearray(gzip.compress(content[:half], mtime=0))
    if wrong is not None:
        first[wrong] ^= 255
    return bytes(first) + bytes(700) + gzip.compress(content[half:], mtime=0)


@pytest.mark.parametrize("size", [1, 3, 4096, 1 << 20])
@pytest.mark.parametrize("wrong", [CRC, CRC + 3, LENGTH, None])
def test_a_wrong_checksum_costs_no_byte_and_is_named(wrong: int | None, size: int) -> None:
    packed = packed_in_two(CONTENT, HALF, wrong=wrong)
    blocks = (packed[at : at + size] for at in range(0, len(packed), size))
    damaged: list[tuple[int, int]] = []
    assert b"".join(inflate(blocks, "x.tar.gz", damaged)) == CONTENT
    assert damaged == ([] if wrong is None else [(0, HALF)])


def test_what_lies_before_a_break_is_given() -> None:
    content = random.Random(2).randbytes(100_000)
    packed = bytearray(gzip.compress(content, mtime=0))
    # Random bytes are stored, not packed: this breaks the head of one of the last stored pieces.
    broken = packed.rindex(content[-20_000:][:8])
    given = b"".join(inflate(iter([bytes(packed[:broken]), b"\xff" * 9000]), "x.tar.gz"))
    assert given[:80_000] == content[:80_000]


def test_a_break_does_not_hide_that_the_source_was_replaced() -> None:
    def blocks() -> Iterator[bytes]:
        yield gzip.compress(CONTENT, mtime=0)[:5000]
        yield b"\xff" * 9000
        raise InputError("it was replaced while it was read")

    given = inflate(blocks(), "x.tar.gz")
    with pytest.raises(InputError, match="was replaced"):
        list(given)


def test_a_wrong_checksum_costs_no_clip_and_damages_the_shard(tmp_path: Path) -> None:
    tar = tar_bytes(pairs(12, 0.4))
    (tmp_path / "in").mkdir()
    (tmp_path / "in/s.tar.gz").write_bytes(packed_in_two(tar, len(tar) // 2, wrong=CRC))
    shards = list_shards([str(tmp_path / "in")], Storage(), root=str(tmp_path / "in"))
    (result,) = run_shards(shards, tmp_path / "out").values()
    assert (len(result.rows), result.rejects) == (12, [])
    assert result.manifest.holes == (Hole(0, len(tar) // 2, "checksum"),)
