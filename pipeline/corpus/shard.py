"""A shard: one input tar with its URL, its size and etag, and the paths of its part and rejects.

`listing.py` makes shards; they are plain data that goes to workers. `open_shard` reads one.
"""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from pipeline.storage.client import Storage, StoredFile
from pipeline.storage.inflate import inflate
from pipeline.storage.location import is_local
from pipeline.storage.streams import ByteStream, local_blocks, remote_blocks

TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz")


@dataclass(frozen=True, slots=True)
class Shard:
    """One input tar; the files that are made of it have the same `path` below the output.

    `isolate_decoding` asks for decoding in a child process, because the shard killed its worker.
    """

    url: str
    path: str
    size_bytes: int
    etag: str
    isolate_decoding: bool = False

    @property
    def stored(self) -> StoredFile:
        """The file as the listing found it."""
        return StoredFile(self.url, self.size_bytes, self.etag)

    @property
    def stem(self) -> str:
        """The path without `.tar`; other suffixes stay, so that `a.tar` and `a.tgz` differ."""
        return self.path.removesuffix(".tar")

    @property
    def is_compressed(self) -> bool:
        """Whether the tar is gzipped: offsets in it are then useless to readers of the file."""
        return self.path.endswith((".gz", ".tgz"))

    @property
    def end_bytes(self) -> int | None:
        """The size of the uncompressed tar; None when it is known only after reading."""
        return None if self.is_compressed or self.size_bytes < 0 else self.size_bytes

    @property
    def source8(self) -> str:
        """The short hash of the source's size and etag."""
        return source_hash(self.size_bytes, self.etag)

    @property
    def part_path(self) -> str:
        """The part's path below the output."""
        return part_path(self.stem)

    @property
    def reject_path(self) -> str:
        """The reject file's path below the output."""
        return reject_path(self.stem)


def part_path(stem: str) -> str:
    """The path of a shard's part below the output."""
    return f"tokens/{stem}.parquet"


def reject_path(stem: str) -> str:
    """The path of a shard's reject file below the output."""
    return f"rejects/{stem}.parquet"


def source_hash(size_bytes: int, etag: str) -> str:
    """The hash of a source file's size and etag, as it stands in the name of a manifest."""
    return hashlib.sha256(f"{size_bytes}:{etag}".encode()).hexdigest()[:8]


def open_shard(
    shard: Shard, storage: Storage, note_bytes: Callable[[int], None] = lambda _: None
) -> ByteStream:
    """The tar of a shard as a stream of its uncompressed bytes.

    `note_bytes` gets the size of every block of the file, before it is uncompressed.
    """
    is_here = is_local(shard.url)
    blocks = local_blocks(shard.url) if is_here else remote_blocks(shard.stored, storage)
    blocks = _counted(blocks, note_bytes)
    if not shard.is_compressed:
        return ByteStream(blocks, shard.url)
    damaged: list[tuple[int, int]] = []
    return ByteStream(inflate(blocks, shard.url, damaged), shard.url, damaged)


def _counted(blocks: Iterator[bytes], note_bytes: Callable[[int], None]) -> Iterator[bytes]:
    for block in blocks:
        note_bytes(len(block))
        yield block
