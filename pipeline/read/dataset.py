"""Reads codes back for training: finds the parts of an output, shuffles their clips, resumes.

It needs pyarrow and fsspec alone. `rank_split.py` splits parts over ranks and loader workers,
`part_stream.py` reads them, `torch_dataset.py` wraps all for a DataLoader.
"""

import hashlib
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from pipeline.errors import InputError, UsageError
from pipeline.output.manifest import list_manifests
from pipeline.read.part_stream import COMPARISONS, CodesRow, Condition, PartStream
from pipeline.read.rank_split import Stream
from pipeline.storage.client import Storage
from pipeline.storage.location import join, normalise, redact

DEFAULT_COLUMNS = ("text", "speaker", "language", "duration")


@dataclass(frozen=True, slots=True)
class StreamedClip:
    """A clip and its place, from which reading can resume: clip `index` of stream `stream`.

    A stream is what one loader worker of one rank reads (`rank_split.py`); `stream` is its id.
    """

    row: CodesRow
    stream: int
    index: int


@dataclass(slots=True)
class Position:
    """How many clips of each stream were trained on in this epoch; saved with a checkpoint.

    `of` is a hash of parts, conditions, shuffle buffer and seed. With other ones the same numbers
    would mean other clips, so `CodesDataset` refuses the position.
    """

    epoch: int = 0
    seen: dict[int, int] = field(default_factory=dict)
    of: str = ""

    def see(self, streams: Sequence[int], indexes: Sequence[int]) -> None:
        """Note the clips of a batch that was trained on."""
        for stream, index in zip(streams, indexes, strict=True):
            self.seen[int(stream)] = max(self.seen.get(int(stream), 0), int(index) + 1)

    def to_dict(self) -> dict[str, Any]:
        """The position as plain JSON values."""
        seen = {str(stream): count for stream, count in self.seen.items()}
        return {"epoch": self.epoch, "seen": seen, "of": self.of}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Position":
        """The position that `to_dict` wrote."""
        seen = {int(stream): int(count) for stream, count in values["seen"].items()}
        return cls(int(values["epoch"]), seen, str(values.get("of", "")))


@dataclass(frozen=True, slots=True)
class CodesDataset:
    """The finished parts of an output, as `open_dataset` finds them; iterate over it for clips.

    The same arguments give the same clips in the same order.
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
        faults = []
        if not 0 <= self.rank < self.world_size:
            faults.append(f"rank {self.rank} of {self.world_size} processes")
        if self.num_codebooks is not None and self.num_codebooks < 1:
            faults.append(f"{self.num_codebooks} codebooks")
        if self.shuffle_buffer < 0:
            faults.append(f"a shuffle buffer of {self.shuffle_buffer} clips")
        if isinstance(self.columns, str):
            faults.append(f"columns `{self.columns}`, a word and no list of them")
        faults += [
            f"the condition {each!r}, which is no (column, comparison, value)"
            for each in self.where
            if not isinstance(each, tuple | list) or len(each) != 3 or each[1] not in COMPARISONS
        ]
        if faults:
            raise UsageError(
                f"The dataset was asked for {'; '.join(faults)}; expected a rank below the world "
                "size, 1 or more codebooks, a buffer of 0 or more, columns as a tuple, and "
                f"conditions like `('dnsmos', '>', 3)` with one of {' '.join(COMPARISONS)}"
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
        position = self.claim(position or Position())
        stream = Stream.of(self.rank, self.world_size, worker, num_workers)
        stream.check_saved(position.seen)
        shuffle_seed = f"{self.seed}/{position.epoch}" if self.shuffle_buffer else None
        parts = stream.parts(self.parts, shuffle_seed)
        seen = position.seen.get(stream.id, 0)
        rows = self._shuffled(parts, seen, f"{self.seed}/{position.epoch}/{stream.number}")
        for index, row in enumerate(rows, start=seen):
            yield StreamedClip(row, stream.id, index)

    def claim(self, position: Position) -> Position:
        """Mark a position as one of this dataset, or refuse it when it counts other clips."""
        facts = (self.parts, self.where, self.shuffle_buffer, self.seed)
        own = hashlib.sha256(repr(facts).encode()).hexdigest()[:16]
        if position.seen and position.of not in ("", own):
            raise UsageError(
                "The position was saved with other parts, conditions, shuffle buffer or seed; "
                "expected the same, or some clips would be read twice and others never. Pass the "
                "`parts` it was saved with, or begin an epoch with a new position"
            )
        position.of = own
        return position

    def __iter__(self) -> Iterator[CodesRow]:
        return (clip.row for clip in self.stream())

    def _shuffled(self, parts: list[str], seen: int, seed: str) -> Iterator[CodesRow]:
        reader = PartStream(
            self.storage, self.columns, self.num_codebooks, self.where, self.parts[0]
        )
        if not self.shuffle_buffer:
            yield from reader.rows(parts, seen)
            return
        # Each buffer is shuffled by its own seed, so resuming need not read the buffers before.
        number, skip = divmod(seen, self.shuffle_buffer)
        rows = reader.rows(parts, seen - skip)
        while buffer := list(islice(rows, self.shuffle_buffer)):
            random.Random(f"{seed}/{number}").shuffle(buffer)
            yield from buffer[skip:]
            number, skip = number + 1, 0


def _is_beside(path: str) -> bool:
    return not {"rejects", "audit", "index"}.isdisjoint(path.split("/"))


def open_dataset(
    output: str | Path,
    *,
    columns: tuple[str, ...] = DEFAULT_COLUMNS,
    num_codebooks: int | None = None,
    where: tuple[Condition, ...] = (),
    shuffle_buffer: int = 0,
    seed: int = 0,
    rank: int = 0,
    world_size: int = 1,
    storage: Storage | None = None,
) -> CodesDataset:
    """Open the finished parts of an output, to read their clips one after the other.

    Args:
        output: The output folder of a run, or any folder of its Parquet files.
        columns: What to read beside key and codes.
        num_codebooks: Only the first so many; all without it.
        where: Conditions that must all hold, e.g. `(("dnsmos", ">", 3),)`.
        shuffle_buffer: Shuffle the parts, and the clips within as many as this; 0 keeps the order.
        seed: Another seed gives another order.
        rank: Which of the processes of a training job this one is; each reads parts of its own.
        world_size: How many processes there are.
        storage: Endpoint and credentials; none are needed for local folders.

    >>> for clip in xytok.open_dataset("codes", where=(("duration", ">", 7.0),)):
    ...     print(clip.key, clip.codes.shape, clip.columns["duration"])
    IT_B00000_S00000_W000000 (8, 146) 11.736
    IT_B00000_S00000_W000001 (8, 152) 12.168
    IT_B00000_S00000_W000002 (8, 196) 15.72
    IT_B00000_S00000_W000003 (8, 96) 7.728
    """
    storage = storage or Storage()
    return CodesDataset(
        parts=find_parts(str(output), storage),
        columns=columns,
        num_codebooks=num_codebooks,
        where=where,
        shuffle_buffer=shuffle_buffer,
        seed=seed,
        rank=rank,
        world_size=world_size,
        storage=storage,
    )


def find_parts(output: str, storage: Storage) -> tuple[str, ...]:
    """The parts that have a manifest; in a folder without manifests, every Parquet file."""
    output = normalise(output)
    stems = sorted({name.stem for name in list_manifests(storage, output)})
    parts = tuple(join(output, f"tokens/{stem}.parquet") for stem in stems)
    if not parts:
        listed = storage.list_files(output)
        names = [f.url for f in listed if f.url.endswith(".parquet")]
        parts = tuple(name for name in names if not _is_beside(name.removeprefix(output)))
    if not parts:
        raise InputError(
            f"`{redact(output)}` holds no parts; expected the output of `xytok tokenize`, or a "
            "folder of its Parquet files; check the path"
        )
    return parts
