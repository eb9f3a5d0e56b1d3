"""What every format of shards gives: its clips in order, each with a place that leads back.

A clip comes as an audio member, its metadata and its place: an offset in a tar, a row of a Parquet
file, a line of a list. The reading thread of a worker takes clips from here, and so do `--where`,
plans and audits. A new format is a class like these and a line in each function below.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from pipeline.corpus.pairing import PairingEvent
from pipeline.corpus.rules import ReadRules
from pipeline.corpus.shard import LIST_SUFFIX, PARQUET_SUFFIX, Shard
from pipeline.corpus.tar_clips import TarClips
from pipeline.corpus.tar_reader import Hole
from pipeline.storage.client import Storage

# The bytes of an audio member, by its place and size as a row of a part has them.
ReadAudio = Callable[[int, int], bytes]


class ClipSource(Protocol):
    """The clips of one shard; every member of it is a clip, a reject, or counted in a hole."""

    is_over: bool

    @property
    def holes(self) -> Sequence[Hole]:
        """What could not be read; complete after the last clip."""
        ...

    @property
    def members(self) -> int:
        """How many files, rows or lines were read so far."""
        ...

    def __iter__(self) -> Iterator[list[PairingEvent]]:
        """What each member tells; `is_over` is set before the last list."""
        ...


def open_clips(
    shard: Shard,
    storage: Storage,
    rules: ReadRules,
    note_bytes: Callable[[int], None] = lambda _: None,
) -> ClipSource:
    """The clips of a shard; `note_bytes` gets the size of what was read of it."""
    if shard.listed:
        from pipeline.corpus.list_clips import ListClips

        return ListClips(shard, storage, rules, note_bytes)
    if shard.cuts:
        from pipeline.corpus.shar_clips import SharClips

        return SharClips(shard, storage, rules, note_bytes)
    if shard.path.endswith(PARQUET_SUFFIX):
        from pipeline.corpus.parquet_clips import ParquetClips

        return ParquetClips(shard, storage, rules, note_bytes)
    return TarClips(shard, storage, rules, note_bytes)


def audio_reader(
    path: str, url: str, storage: Storage, rules: ReadRules, listed: Callable[[], bytes]
) -> ReadAudio:
    """What reads the audio of single clips of a shard by their places.

    Args:
        path: of the shard, which tells its format.
        url: where it is now.
        rules: those by which it was read.
        listed: gets the list itself, where the shard was one.
    """
    if path.endswith(LIST_SUFFIX):
        from pipeline.corpus.list_clips import ListAudio

        return ListAudio(url, storage, rules, listed)
    if path.endswith(PARQUET_SUFFIX):
        from pipeline.corpus.parquet_clips import ParquetAudio

        return ParquetAudio(url, storage, rules.audio_column)
    return lambda offset, size: storage.read_range(url, offset, offset + size)
