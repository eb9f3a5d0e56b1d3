"""Reads codes back for training: finds the parts of outputs, shuffles their clips, resumes.

It needs pyarrow and fsspec alone. `plan.py` says which clips each rank and loader worker reads,
`part_reader.py` reads them, `torch_dataset.py` wraps all for a DataLoader.
"""

import hashlib
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from pipeline.corpus.where import parse_where
from pipeline.errors import NotFoundError, UsageError
from pipeline.output.dropped import DROPPED, read_dropped
from pipeline.output.manifest import read_named_manifests
from pipeline.output.retries import finished_in
from pipeline.plural import plural
from pipeline.read.batches import cut_batches, split_to
from pipeline.read.keep_list import KeepList
from pipeline.read.part_reader import CodesRow, PartReader
from pipeline.read.plan import PieceFinder, Plan
from pipeline.read.row_filter import COMPARISONS, RowFilter, Where
from pipeline.storage.client import Storage
from pipeline.storage.location import join, normalise, redact
from pipeline.storage.streams import file_sha256

DEFAULT_COLUMNS = ("text", "speaker", "language", "duration")
# What is read as a whole where nothing is shuffled.
_WINDOW_CLIPS = 1024


@dataclass(frozen=True, slots=True)
class StreamedClips:
    """One clip, or the clips of a batch, and the place from which reading can resume.

    It is number `index` of window `window` (`plan.py`).
    """

    rows: tuple[CodesRow, ...]
    window: int
    index: int


@dataclass(slots=True)
class Position:
    """How much of each window of an epoch was trained on; saved with a checkpoint.

    All ranks take equal steps, so the position of one is that of all. The number of loader workers
    may change. `of` is a hash of what else the numbers depend on: parts, conditions, keep list,
    dropped clips, shuffle buffer, batches, weights, seed and number of ranks. With other ones they
    would mean other clips, so `CodesDataset` refuses the position.
    """

    epoch: int = 0
    seen: dict[int, int] = field(default_factory=dict)
    of: str = ""

    def see(self, windows: Any, indexes: Any) -> None:
        """Note what was trained on: the `window` and `index` of a sample, a batch or several."""
        for window, index in zip(_numbers(windows), _numbers(indexes), strict=True):
            self.seen[window] = max(self.seen.get(window, 0), index + 1)

    def to_dict(self) -> dict[str, Any]:
        """The position as plain JSON values."""
        seen = {str(window): count for window, count in self.seen.items()}
        return {"epoch": self.epoch, "seen": seen, "of": self.of}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Position":
        """The position that `to_dict` wrote."""
        seen = {int(window): int(count) for window, count in values["seen"].items()}
        return cls(int(values["epoch"]), seen, str(values.get("of", "")))


def _numbers(values: Any) -> list[int]:
    try:
        return [int(value) for value in values]
    except TypeError:
        return [int(values)]


@dataclass(frozen=True)
class CodesDataset:
    """The finished parts of outputs, as `open_dataset` finds them; iterate over it for clips.

    The same arguments give the same clips in the same order.
    """

    sources: tuple[tuple[str, ...], ...]
    columns: tuple[str, ...] = DEFAULT_COLUMNS
    num_codebooks: int | None = None
    where: Where = ()
    keep: str | None = None
    shuffle_buffer: int = 0
    batch_frames: int | None = None
    weights: tuple[float, ...] | None = None
    repeat: bool = False
    seed: int = 0
    rank: int = 0
    world_size: int = 1
    storage: Storage = field(default_factory=Storage)
    # By the URL of a part, the keys that `xytok drop` took out of it.
    dropped: Mapping[str, frozenset[str]] = field(default_factory=dict)
    # By the URL of a part, its hash, where a keep list asks for it.
    part_sha256: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        faults = list(self._faults())
        if faults:
            raise UsageError(
                f"The dataset was asked for {'; '.join(faults)}; expected a rank below the world "
                "size, 1 or more codebooks and frames, a buffer of 0 or more, columns as a tuple, "
                "a weight above 0 for each output, and an expression or conditions like "
                f"`('dnsmos', '>', 3)` with one of {' '.join(COMPARISONS)}"
            )
        if isinstance(self.where, str):
            parse_where(self.where)

    def _faults(self) -> Iterator[str]:
        if not 0 <= self.rank < self.world_size:
            yield f"rank {self.rank} of {self.world_size} processes"
        if self.num_codebooks is not None and self.num_codebooks < 1:
            yield f"{self.num_codebooks} codebooks"
        if self.batch_frames is not None and self.batch_frames < 1:
            yield f"batches of {self.batch_frames} frames"
        if self.shuffle_buffer < 0:
            yield f"a shuffle buffer of {self.shuffle_buffer} clips"
        if isinstance(self.columns, str):
            yield f"columns `{self.columns}`, a word and no list of them"
        if self.weights is not None and (
            len(self.weights) != len(self.sources) or min(self.weights) <= 0
        ):
            yield f"weights {self.weights} for {plural(len(self.sources), 'output')}"
        for each in () if isinstance(self.where, str) else self.where:
            if not isinstance(each, tuple | list) or len(each) != 3 or each[1] not in COMPARISONS:
                yield f"the condition {each!r}, which is no (column, comparison, value)"

    @property
    def parts(self) -> tuple[str, ...]:
        """The parts of all sources."""
        return tuple(part for parts in self.sources for part in parts)

    @cached_property
    def plan(self) -> Plan:
        """Which clips are where; looks once at every part, and at the columns of conditions."""
        keep = KeepList(self.storage, self.keep, ("row", "keep")) if self.keep else None
        finder = PieceFinder(
            self.storage,
            self.columns,
            RowFilter(self.where, keep, self.dropped, self._sha256_of),
            with_depth=self.num_codebooks is None,
            with_frames=self.batch_frames is not None,
        )
        pieces = finder.find(self.sources)
        if keep is not None:
            keep.refuse_strangers(keep.asked)
        plan = Plan(
            pieces,
            self.weights,
            self.world_size,
            self.shuffle_buffer or _WINDOW_CLIPS,
            self.seed if self.shuffle_buffer else None,
            repeat=self.repeat,
        )
        clips = sum(piece.count for found in pieces for piece in found)
        if clips and not plan.clips_per_rank:
            raise UsageError(
                f"{plural(clips, 'clip')} for {self.world_size} ranks leave some without data; "
                "expected at least one clip a rank; use fewer ranks, or `repeat=True`"
            )
        return plan

    def stream(
        self, worker: int = 0, num_workers: int = 1, position: Position | None = None
    ) -> Iterator[StreamedClips]:
        """What one loader worker of this rank reads, from a position on."""
        position = self.claim(position or Position())
        reader = PartReader(self.storage, self.columns, self.num_codebooks)
        for window in range(worker, self.plan.num_windows, num_workers):
            seen = position.seen.get(window, 0)
            yield from self._window(reader, position.epoch, window, seen)

    def claim(self, position: Position) -> Position:
        """Mark a position as one of this dataset, or refuse it when it counts other clips."""
        clips: tuple[Any, ...] = (self.sources, self.weights, self.where, self.keep)
        if self.dropped:
            clips += (sorted((url, sorted(keys)) for url, keys in self.dropped.items()),)
        order = (self.shuffle_buffer, self.batch_frames, self.seed, self.world_size, self.repeat)
        own = hashlib.sha256(repr((clips, order)).encode()).hexdigest()[:16]
        if position.seen and position.of not in ("", own):
            raise UsageError(
                "The position was saved with other parts, conditions, keep list, dropped clips, "
                "weights, shuffle buffer, batches, seed or number of ranks; expected the same, or "
                "some clips would be read twice and others never. Pass what it was saved with, or "
                "begin an epoch with a new position"
            )
        position.of = own
        return position

    def _sha256_of(self, part: str) -> str:
        """The hash of a part: as its manifest has it, or of the file where there is none."""
        return self.part_sha256.get(part) or file_sha256(part, self.storage)

    def __iter__(self) -> Iterator[CodesRow]:
        return (row for clips in self.stream() for row in clips.rows)

    def _window(
        self, reader: PartReader, epoch: int, window: int, seen: int
    ) -> Iterator[StreamedClips]:
        steps = self._order(epoch, window)
        if seen >= len(steps):
            return
        rows: list[CodesRow] = []
        for part in self.plan.segments(epoch, self.rank, window):
            piece = part.piece
            table = reader.read(piece.url, piece.group, piece.rows, part.first, part.last)
            rows += reader.unpack(table)
        for index in range(seen, len(steps)):
            yield StreamedClips(tuple(rows[clip] for clip in steps[index]), window, index)

    def _order(self, epoch: int, window: int) -> Sequence[Sequence[int]]:
        """The steps of a window: the numbers of the clips in each."""
        steps: list[list[int]]
        if self.batch_frames is None:
            steps = [[clip] for clip in range(self.plan.size(window))]
        else:
            lengths = [self._frames(epoch, rank, window) for rank in range(self.world_size)]
            cuts = [cut_batches(frames, self.batch_frames) for frames in lengths]
            # As many steps as the rank needs that needs most.
            steps = split_to(cuts[self.rank], max(map(len, cuts)))
        if self.shuffle_buffer:
            # The same on every rank, so that their batches of one step are of about one length.
            random.Random(f"{self.seed}/{epoch}/{window}").shuffle(steps)
        return steps

    def _frames(self, epoch: int, rank: int, window: int) -> list[int]:
        segments = self.plan.segments(epoch, rank, window)
        return [length for segment in segments for length in segment.frames]


def _is_beside(path: str) -> bool:
    return not {"rejects", "audit", "index", DROPPED}.isdisjoint(path.split("/"))


def open_dataset(
    output: str | Path | Sequence[str | Path],
    *,
    columns: tuple[str, ...] = DEFAULT_COLUMNS,
    num_codebooks: int | None = None,
    where: Where = (),
    keep: str | Path | None = None,
    shuffle_buffer: int = 0,
    batch_frames: int | None = None,
    weights: Sequence[float] | None = None,
    repeat: bool = False,
    seed: int = 0,
    rank: int = 0,
    world_size: int = 1,
    storage: Storage | None = None,
) -> CodesDataset:
    """Open the finished parts of outputs, to read their clips one after the other.

    Clips that `xytok drop` took out are left out.

    Args:
        output: The output folder of a run, or any folder of its Parquet files; or several.
        columns: What to read beside key and codes.
        num_codebooks: Only the first so many; all without it.
        where: Only clips that fit: the words of `xytok tokenize --where`, or conditions that must
            all hold, e.g. `(("dnsmos", ">", 3),)`.
        keep: Only rows that the keep list of an audit keeps, a Parquet file.
        shuffle_buffer: Shuffle the row groups of all parts, and the clips within windows of at most
            so many, each from as many row groups as fit in; 0 keeps the order.
        batch_frames: Make batches of clips of about equal length, each padded to at most so many
            frames; every rank gets as many batches.
        weights: How often clips of each output come: `[3, 1]` is three of the first for one of the
            second. An epoch ends before a clip would come twice. Without them it has every clip.
        repeat: Where clips cannot be divided by the ranks, let some come twice; else a few are left
            out, in each shuffled epoch others.
        seed: Another seed gives another order.
        rank: Which of the processes of a training job this one is; all get equally many clips.
        world_size: How many processes there are.
        storage: Endpoint and credentials; none are needed for local folders.

    >>> for clip in xytok.open_dataset("codes", where="duration > 7"):
    ...     print(clip.key, clip.codes.shape, clip.columns["duration"])
    IT_B00000_S00000_W000000 (8, 146) 11.736
    IT_B00000_S00000_W000001 (8, 152) 12.168
    IT_B00000_S00000_W000002 (8, 196) 15.72
    IT_B00000_S00000_W000003 (8, 96) 7.728
    """
    storage = storage or Storage()
    given = [output] if isinstance(output, str | Path) else output
    outputs = [normalise(str(each)) for each in given]
    dropped = {
        join(each, part): frozenset(keys)
        for each in outputs
        for part, keys in read_dropped(storage, each).by_part.items()
    }
    return CodesDataset(
        sources=tuple(find_parts(each, storage) for each in outputs),
        columns=columns,
        num_codebooks=num_codebooks,
        where=where,
        keep=str(keep) if keep is not None else None,
        shuffle_buffer=shuffle_buffer,
        batch_frames=batch_frames,
        weights=tuple(weights) if weights is not None else None,
        repeat=repeat,
        seed=seed,
        rank=rank,
        world_size=world_size,
        storage=storage,
        dropped=dropped,
        part_sha256=dict(_hashes(outputs, storage)) if keep is not None else {},
    )


def _hashes(outputs: Sequence[str], storage: Storage) -> Iterator[tuple[str, str]]:
    """The parts of finished shards with their hashes."""
    for output in outputs:
        for place, names in finished_in(storage, output):
            for manifest in read_named_manifests(storage, place.url, names):
                yield join(place.url, manifest.part.path), manifest.part.sha256


def find_parts(output: str, storage: Storage) -> tuple[str, ...]:
    """The parts that have a manifest, those of retries last; without any, every Parquet file."""
    output = normalise(output)
    parts: tuple[str, ...] = ()
    for place, shards in finished_in(storage, output):
        stems = sorted({shard.stem for shard in shards})
        parts += tuple(join(place.url, f"tokens/{stem}.parquet") for stem in stems)
    if not parts:
        listed = storage.list_files(output)
        names = [f.url for f in listed if f.url.endswith(".parquet")]
        parts = tuple(name for name in names if not _is_beside(name.removeprefix(output)))
    if not parts:
        raise NotFoundError(
            f"`{redact(output)}` holds no parts; expected the output of `xytok tokenize`, or a "
            "folder of its Parquet files; check the path"
        )
    return parts
