"""A shard: one input tar, where it is, in which state, and under which path its output goes."""

import hashlib
from dataclasses import dataclass

from pipeline.storage.client import Storage, StoredFile
from pipeline.storage.location import is_local
from pipeline.storage.streams import ByteStream, inflate, local_blocks, remote_blocks

TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz")


@dataclass(frozen=True, slots=True)
class Shard:
    """One input tar as listed; `path` mirrors its place below the output.

    `isolate_decoding` asks for decoding in a child process, for a shard that killed its worker.
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
        """The mirrored path without `.tar`; other suffixes stay, so that stems do not collide."""
        return self.path.removesuffix(".tar")

    @property
    def is_compressed(self) -> bool:
        """Whether the tar is gzipped, so that offsets in it mean nothing."""
        return self.path.endswith((".gz", ".tgz"))

    @property
    def end_bytes(self) -> int | None:
        """Where the tar itself ends; None where that is not known before it is read."""
        return None if self.is_compressed or self.size_bytes < 0 else self.size_bytes

    @property
    def source8(self) -> str:
        """The short hash of the source's size and etag."""
        return source_hash(self.size_bytes, self.etag)

    @property
    def part_path(self) -> str:
        """The part's path below the output."""
        return f"tokens/{self.stem}.parquet"

    @property
    def reject_path(self) -> str:
        """The reject file's path below the output."""
        return f"rejects/{self.stem}.parquet"


def source_hash(size_bytes: int, etag: str) -> str:
    """The short hash of a source file's state in the manifest's name."""
    return hashlib.sha256(f"{size_bytes}:{etag}".encode()).hexdigest()[:8]


def open_shard(shard: Shard, storage: Storage) -> ByteStream:
    """The tar of a shard as a stream of its uncompressed bytes."""
    is_here = is_local(shard.url)
    blocks = local_blocks(shard.url) if is_here else remote_blocks(shard.stored, storage)
    return ByteStream(inflate(blocks, shard.url) if shard.is_compressed else blocks, shard.url)
