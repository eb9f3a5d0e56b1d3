"""A shard: one input file with its URL, its size and etag, and the paths of its part and rejects.

A tar, a Parquet file, or a list of audio files. `listing.py` makes shards; they are plain data that
goes to workers. `clip_source.py` reads their clips, `open_shard` the bytes of a tar.
"""

import hashlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from pipeline.storage.client import Storage, StoredFile
from pipeline.storage.inflate import inflate
from pipeline.storage.streams import ByteStream, file_blocks
from pipeline.storage.zstd_stream import decompress_zstd

TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.zst")
_SHAR = re.compile(r"recording\.(\d+)\.tar(?:\.gz)?")
_AND_CUTS = " cuts:"
PARQUET_SUFFIX = ".parquet"
SHARD_SUFFIXES = (*TAR_SUFFIXES, PARQUET_SUFFIX)
# Of lists, which `audio_lists.py` makes of folders and of lists that others wrote.
LIST_SUFFIX = ".list"
# Those that are not in the names of the files made of a shard.
STEM_SUFFIXES = (".tar", PARQUET_SUFFIX, LIST_SUFFIX)


@dataclass(frozen=True, slots=True)
class Shard:
    """One input file; the files that are made of it have the same `path` below the output.

    Attributes:
        isolate_decoding: decode in a child process, because the shard killed its worker.
        listed: the list itself, for a list of audio files, which is no file.
        cuts: the URL of the cuts of a tar of lhotse Shar; the etag then holds that of both files.
    """

    url: str
    path: str
    size_bytes: int
    etag: str
    isolate_decoding: bool = False
    listed: bytes = field(default=b"", repr=False)
    cuts: str = ""

    @property
    def stored(self) -> StoredFile:
        """The file as the listing found it."""
        return StoredFile(self.url, self.size_bytes, own_etag(self.etag))

    @property
    def stem(self) -> str:
        """The path without its suffix; those of compressed tars stay: `a.tar`, `a.tgz` differ."""
        return stem_of(self.path)

    @property
    def is_compressed(self) -> bool:
        """Whether the tar is compressed: offsets in it are then useless to readers of the file."""
        return self.path.endswith((".gz", ".tgz", ".zst"))

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


def stem_of(path: str) -> str:
    """The path of a shard as it is in the names of its files."""
    suffix = next((each for each in STEM_SUFFIXES if path.endswith(each)), "")
    return path.removesuffix(suffix)


def cuts_of(url: str) -> str:
    """Where the cuts of a tar of lhotse Shar are, `cuts.000000.jsonl.gz`; empty for other tars."""
    folder, slash, name = url.rpartition("/")
    match = _SHAR.fullmatch(name)
    return f"{folder}{slash}cuts.{match[1]}.jsonl.gz" if match else ""


def both_etags(tar: str, cuts: str) -> str:
    """The etag of a tar of lhotse Shar with its cuts."""
    return f"{tar}{_AND_CUTS}{cuts}"


def own_etag(etag: str) -> str:
    """The etag of the tar alone."""
    return etag.partition(_AND_CUTS)[0]


def has_cuts(etag: str) -> bool:
    """Whether a shard was read with cuts, told by its etag."""
    return _AND_CUTS in etag


def is_tar(path: str) -> bool:
    """Whether a shard is a tar."""
    return path.endswith(TAR_SUFFIXES)


def part_path(stem: str) -> str:
    """The path of a shard's part below the output."""
    return f"tokens/{stem}.parquet"


def reject_path(stem: str) -> str:
    """The path of a shard's reject file below the output."""
    return f"rejects/{stem}.parquet"


def list_path(stem: str) -> str:
    """The path below the output of the list that a shard was, where it was one."""
    return f"lists/{stem}.jsonl"


def source_hash(size_bytes: int, etag: str) -> str:
    """The hash of a source file's size and etag, as it stands in the name of a manifest."""
    return hashlib.sha256(f"{size_bytes}:{etag}".encode()).hexdigest()[:8]


def open_shard(
    shard: Shard, storage: Storage, note_bytes: Callable[[int], None] = lambda _: None
) -> ByteStream:
    """The tar of a shard as a stream of its uncompressed bytes.

    `note_bytes` gets the size of every block of the file, before it is uncompressed.
    """
    blocks = _counted(file_blocks(shard.stored, storage), note_bytes)
    if not shard.is_compressed:
        return ByteStream(blocks, shard.url)
    damaged: list[tuple[int, int]] = []
    return ByteStream(uncompressed(shard.path, blocks, shard.url, damaged), shard.url, damaged)


def uncompressed(
    path: str, blocks: Iterator[bytes], url: str, damaged: list[tuple[int, int]] | None = None
) -> Iterator[bytes]:
    """The tar in the blocks of a file; what a wrong checksum covers is added to `damaged`."""
    if path.endswith(".zst"):
        return decompress_zstd(blocks, url, damaged)
    return inflate(blocks, url, damaged) if path.endswith((".gz", ".tgz")) else blocks


def _counted(blocks: Iterator[bytes], note_bytes: Callable[[int], None]) -> Iterator[bytes]:
    for block in blocks:
        note_bytes(len(block))
        yield block
