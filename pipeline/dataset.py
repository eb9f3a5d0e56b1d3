"""Reading codes back for training: parts spread over ranks and loader workers, shuffled, resumable.

Needs pyarrow and fsspec alone; `pipeline.torch_dataset` wraps it for a DataLoader.
"""

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from pipeline.errors import InputError, UsageError
from pipeline.location import join, normalise, redact
from pipeline.manifest import list_manifests
from pipeline.part_stream import CodesRow, Condition, PartStream
from pipeline.storage import Storage

DEFAULT_COLUMNS = ("text", "speaker", "language", "duration")


@dataclass(frozen=True, slots=True)
class StreamedClip:
    """A clip with its place: the how-many-th of which stream, to resume after it."""

    row: CodesRow
    stream: int
    index: int


@dataclass(slots=True)
class Position:
    """How far every stream of an epoch has been consumed; plain data for a checkpoint."""

    epoch: int = 0
    seen: dict[int, int] = field(default_factory=dict)

    def see(self, streams: Sequence[int], indexes: Sequence[int]) -> None:
        """Note the clips of a batch that was trained on."""
        for stream, index in zip(streams, indexes, strict=True):
            self.seen[int(stream)] = max(self.seen.get(int(stream), 0), int(index) + 1)

    def to_dict(self) -> dict[str, Any]:
        """The position as plain JSON values."""
        return {"epoch": self.epoch, "seen": {str(s): n for s, n in self.seen.items()}}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Position":
        """The position that `to_dict` wrote."""
        return cls(int(values["epoch"]), {int(s): int(n) for s, n in values["seen"].items()})


@dataclass(frozen=True, slots=True)
class CodesDataset:
    """The finished parts of an output; the same arguments give the same clips in the same order.

    `where` is conditions that must all hold, e.g. `(("dnsmos", ">", 3),)`. With a shuffle buffer,
    parts are shuffled, and clips within as many as the buffer holds.
    """

    parts: tuple[str, ...]
    columns: tuple[str, ...] = DEFAULT_COLUMNS
    num_codebooks: int | None = None
    where: tuple[Condition, ...] = ()
    shuffle_buffer: int = 0
    seed: int = 0
    rank: int = 0
    world_size: int = 1
    storage: Storage = field(default_factory=Storage)

    def __post_init__(self) -> None:
        if not 0 <= self.rank < self.world_size:
            raise UsageError(
                f"Rank {self.rank} of {self.world_size}; expected 0 to {self.world_size - 1}; "
                "pass the rank and world size of this process"
            )
        if self.world_size > len(self.parts):
            raise UsageError(
                f"{len(self.parts)} parts for {self.world_size} ranks leave some without data; "
                "expected at least one part a rank; use fewer ranks or smaller shards"
            )

    def stream(
        self, worker: int = 0, num_workers: int = 1, position: Position | None = None
    ) -> Iterator[StreamedClip]:
        """The clips of one loader worker of this rank, from a position on."""
        position = position or Position()
        number = self.rank * num_workers + worker
        parts = self._parts_of(number, self.world_size * num_workers, position.epoch)
        seen = position.seen.get(number, 0)
        rows = self._shuffled(parts, seen, f"{self.seed}/{position.epoch}/{number}")
        for index, row in enumerate(rows, start=seen):
            yield StreamedClip(row, number, index)

    def __iter__(self) -> Iterator[CodesRow]:
        return (clip.row for clip in self.stream())

    def _parts_of(self, number: int, num_streams: int, epoch: int) -> list[str]:
        parts = list(self.parts)
        if self.shuffle_buffer:
            # Every stream shuffles all parts the same way, so that none is read twice or never.
            random.Random(f"{self.seed}/{epoch}").shuffle(parts)
        return parts[number::num_streams]

    def _shuffled(self, parts: list[str], seen: int, seed: str) -> Iterator[CodesRow]:
        reader = PartStream(self.storage, self.columns, self.num_codebooks, self.where)
        if not self.shuffle_buffer:
            yield from reader.rows(parts, seen)
            return
        # Whole buffers are shuffled, each by its own seed: to resume, earlier ones are not read.
        number, skip = divmod(seen, self.shuffle_buffer)
        rows = reader.rows(parts, seen - skip)
        while buffer := list(islice(rows, self.shuffle_buffer)):
            random.Random(f"{seed}/{number}").shuffle(buffer)
            yield from buffer[skip:]
            number, skip = number + 1, 0


def open_dataset(output: str, *, storage: Storage | None = None, **options: Any) -> CodesDataset:
    """The dataset of an output folder; `options` are the fields of `CodesDataset`."""
    storage = storage or Storage()
    return CodesDataset(find_parts(output, storage), storage=storage, **options)


def find_parts(output: str, storage: Storage) -> tuple[str, ...]:
    """The parts whose manifests say that they are done; without manifests, every Parquet file."""
    output = normalise(output)
    stems = sorted({name.stem for name in list_manifests(storage, output)})
    parts = tuple(join(output, f"tokens/{stem}.parquet") for stem in stems)
    if not parts:
        listed = storage.list_files(output)
        names = [f.url for f in listed if f.url.endswith(".parquet")]
        parts = tuple(name for name in names if "/rejects/" not in name and "/audit/" not in name)
    if not parts:
        raise InputError(
            f"`{redact(output)}` holds no parts; expected the output of `xytok tokenize`, or a "
            "folder of its Parquet files; check the path"
        )
    return parts
