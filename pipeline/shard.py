"""A shard: one input tar, where it is, in which state, and under which path its output goes."""

from dataclasses import dataclass

from pipeline.manifest import ManifestName, source_hash

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

    def manifest_name(self, identity8: str) -> ManifestName:
        """The name of this shard's manifest in a run."""
        return ManifestName(self.stem, identity8, self.source8)
