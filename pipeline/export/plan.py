"""The plan of an export: which rows, in which splits, and where one output shard ends.

It is made from the small columns of the parts. Equal runs and options give an equal plan, so a
second command finds the shards of the first. With `--shuffle` it has counts and no shards, because
where a shard ends is known only in the shuffled order.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash
from numpy.typing import NDArray

from pipeline.errors import InputError, UsageError, list_lines
from pipeline.export.contract import Format, Limits
from pipeline.export.record import SplitCounts
from pipeline.export.samples import SampleRules, ids_of, shards_of
from pipeline.export.selection import LEFT_OUT, Chooser
from pipeline.export.source import ExportedRun, Group, PartReader
from pipeline.export.splits import MOST_COUNTED
from pipeline.plural import plural

ClusterBy = Literal["language", "length"]
_NONE = np.zeros(0, np.int64)
_MOST_SHOWN = 5


@dataclass(frozen=True, slots=True)
class PlannedShard:
    """An output shard: so many samples of a split, from a row group on without its first ones."""

    split: int
    number: int
    group: int
    skip: int
    samples: int


@dataclass(slots=True)
class Plan:
    """What will be exported.

    `speakers` are some of those of the clips, where splits go by them.
    `same_audio` are the rows that `--dedup` drops, over all parts. With `--cluster-by`, `rows` are
    all exported rows and `places` where each comes.
    """

    groups: list[Group] = field(default_factory=list)
    shards: list[PlannedShard] = field(default_factory=list)
    same_audio: NDArray[np.int64] = field(default_factory=lambda: _NONE)
    rows: NDArray[np.int64] = field(default_factory=lambda: _NONE)
    places: NDArray[np.int64] = field(default_factory=lambda: _NONE)
    counts: dict[int, SplitCounts] = field(default_factory=dict)
    left_out: Counter[str] = field(default_factory=Counter)
    size_bytes: int = 0
    speakers: set[str] = field(default_factory=set)

    def clips_in(self, split: int) -> int:
        """How many samples a split has."""
        return self.counts[split].clips if split in self.counts else 0

    @property
    def clips(self) -> int:
        """How many samples there are in all splits."""
        return sum(count.clips for count in self.counts.values())

    def places_of(self, rows: NDArray[np.int64]) -> NDArray[np.uint64]:
        """Where `--cluster-by` puts these rows, spread over 64 bits."""
        places = self.places[np.searchsorted(self.rows, rows)]
        return places.astype(np.uint64) * np.uint64((1 << 64) // (len(self.rows) + 1))


class Cutter:
    """Says where one shard ends and the next begins, sample by sample."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self.samples = self._size_bytes = 0

    def begins(self, size_bytes: int) -> bool:
        """Take a sample; whether it is the first of a shard."""
        limits, size = self._limits, self._size_bytes + size_bytes
        is_full = self.samples and (
            (limits.samples is not None and self.samples >= limits.samples)
            or (limits.size_bytes is not None and size > limits.size_bytes)
        )
        is_first = bool(is_full) or not self.samples
        self.samples = 1 if is_first else self.samples + 1
        self._size_bytes = size_bytes if is_first else size
        return is_first


class _Clusters:
    """Sorts rows by language or length; rows that are alike keep their order.

    For each clip 20 bytes are held, and twice that at the end.
    """

    def __init__(self, by: ClusterBy | None) -> None:
        self._by = by
        self._rows: list[NDArray[np.int64]] = []
        self._values: list[NDArray[np.int32]] = []
        self._languages: dict[str, int] = {}

    def take(self, table: Any, rows: NDArray[np.int64]) -> None:
        """Add rows of a row group."""
        self._rows.append(rows)
        if self._by == "length":
            self._values.append(table["num_frames"].to_numpy())
            return
        names = [name or "" for name in table["language"].to_pylist()]
        numbers = [self._languages.setdefault(name, len(self._languages)) for name in names]
        self._values.append(np.array(numbers, np.int32))

    def places(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """All rows as they came, and the place of each."""
        if not self._rows:
            return _NONE, _NONE
        rows, values = np.concatenate(self._rows), np.concatenate(self._values)
        if self._languages:
            ranks = {name: rank for rank, name in enumerate(sorted(self._languages))}
            values = np.array([ranks[name] for name in self._languages], np.int32)[values]
        places = np.empty_like(rows)
        places[np.argsort(values, kind="stable")] = np.arange(len(rows))
        return rows, places


@dataclass(frozen=True, slots=True)
class Planner:
    """Reads the small columns of a run."""

    run: ExportedRun
    reader: PartReader
    chooser: Chooser
    format: Format
    rules: SampleRules
    limits: Limits
    dedup: bool
    is_shuffled: bool
    cluster_by: ClusterBy | None = None

    def plan(self) -> Plan:
        """The plan of all rows; raises when nothing is left, or two clips would have one id."""
        plan = Plan(same_audio=self._same_audio() if self.dedup else _NONE)
        is_reordered = self.is_shuffled or self.cluster_by is not None
        clusters = _Clusters(self.cluster_by)
        cutters: dict[int, Cutter] = {}
        open_shards: dict[int, list[int]] = {}  # by split: number, group, skip, samples
        ids: list[NDArray[np.uint64]] = []
        for group, table, fate in self._chosen(plan.same_audio):
            place = len(plan.groups)
            plan.groups.append(group)
            plan.left_out.update(LEFT_OUT[int(each)] for each in fate if each < 0)
            chosen = np.flatnonzero(fate >= 0)
            if self.format.has_ids:
                ids.append(self._id_hashes(table, group, chosen))
            if self.cluster_by is not None:
                first = self.run.parts[group.part].first_row + group.first_row
                clusters.take(table.take(pa.array(chosen)), chosen + first)
            sizes = self._sizes(table)
            self._count(plan, table, fate)
            plan.size_bytes += int(sizes[chosen].sum())
            seen: Counter[int] = Counter()
            for row in chosen.tolist() if not is_reordered else ():
                split = int(fate[row])
                if cutters.setdefault(split, Cutter(self.limits)).begins(int(sizes[row])):
                    number = _close(plan, split, open_shards)
                    open_shards[split] = [number, place, seen[split], 0]
                open_shards[split][3] += 1
                seen[split] += 1
        for split in list(open_shards):
            _close(plan, split, open_shards)
        plan.rows, plan.places = clusters.places()
        plan.shards.sort(key=lambda shard: (shard.split, shard.number))
        self._check(plan, ids)
        return plan

    def _chosen(
        self, same_audio: NDArray[np.int64], *further: str
    ) -> Iterator[tuple[Group, Any, NDArray[np.int16]]]:
        known = self.reader.columns().names
        columns = {*self.chooser.columns(known), "num_frames", "duration", "key", "text", *further}
        columns |= {"speaker"} if self.rules.pair_reference else set()
        columns |= {"shard"} if self.run.is_merged else set()
        columns |= {"language"} if self.cluster_by == "language" else set()
        names = [name for name in known if name in columns]
        for group in self.reader.groups():
            table = self.reader.read(group, names)
            yield group, table, self.chooser.choose(table, group, same_audio)

    def _same_audio(self) -> NDArray[np.int64]:
        """The rows whose audio an earlier exported row has; 16 bytes a clip are held for it."""
        hashes, rows = [], []
        for group, table, fate in self._chosen(_NONE, "audio_xxh64"):
            chosen = np.flatnonzero(fate >= 0)
            hashes.append(table["audio_xxh64"].to_numpy()[chosen])
            rows.append(chosen + self.run.parts[group.part].first_row + group.first_row)
        if not rows:
            return _NONE
        all_rows = np.concatenate(rows)
        _, first = np.unique(np.concatenate(hashes), return_index=True)
        return np.delete(all_rows, first)

    def _sizes(self, table: Any) -> NDArray[np.int64]:
        frames = table["num_frames"].to_numpy()
        texts = pc.fill_null(pc.binary_length(table["text"]), 0).to_numpy()
        both = zip(frames.tolist(), texts.tolist(), strict=True)
        return np.array([self.format.sample_bytes(*each) for each in both], np.int64)

    def _count(self, plan: Plan, table: Any, fate: NDArray[np.int16]) -> None:
        if "speaker" in table.column_names and len(plan.speakers) < MOST_COUNTED:
            chosen = table.filter(pa.array(fate >= 0)).select(("speaker", "key")).to_pylist()
            plan.speakers.update(row["speaker"] or row["key"] for row in chosen)
        frames, seconds = table["num_frames"].to_numpy(), table["duration"].to_numpy()
        for split in set(fate[fate >= 0].tolist()):
            rows = fate == split
            count = plan.counts.setdefault(split, SplitCounts())
            count.clips += int(rows.sum())
            count.frames += int(frames[rows].sum())
            count.seconds += float(seconds[rows].sum())
            if self.rules.pair_reference:
                speakers = Counter(table["speaker"].filter(pa.array(rows)).to_pylist())
                count.with_reference += sum(n for name, n in speakers.items() if name and n > 1)

    def _id_hashes(self, table: Any, group: Group, chosen: NDArray[np.intp]) -> NDArray[np.uint64]:
        names = ids_of(self.rules, self.run, group, table.take(pa.array(chosen)))
        found = (xxhash.xxh64_intdigest(name.encode()) for name in names)
        return np.fromiter(found, np.uint64, len(names))

    def _check(self, plan: Plan, ids: list[NDArray[np.uint64]]) -> None:
        if not plan.clips:
            why = ", ".join(f"{n} {reason}" for reason, n in sorted(plan.left_out.items()))
            raise InputError(
                f"No clip is left to export: {why or 'the parts have no rows'}; expected some; "
                "compare `--where`, `--keep` and `--to` with a row that `xytok show` prints"
            )
        hashes = np.sort(np.concatenate(ids)) if ids else np.zeros(0, np.uint64)
        twice = set(hashes[1:][hashes[1:] == hashes[:-1]].tolist())
        if twice:
            self._refuse_duplicates(plan, twice)

    def _refuse_duplicates(self, plan: Plan, twice: set[int]) -> None:
        """Look at the ids themselves: two names may share a hash of 64 bits."""
        shards: dict[str, list[str]] = {}
        for group, table, fate in self._chosen(plan.same_audio):
            rows = table.filter(pa.array(fate >= 0))
            names = ids_of(self.rules, self.run, group, rows)
            for name, shard in zip(names, shards_of(self.run, group, rows), strict=True):
                if xxhash.xxh64_intdigest(name.encode()) in twice:
                    shards.setdefault(name, []).append(shard)
        lines = [f"`{n}` in {' and '.join(s)}" for n, s in sorted(shards.items()) if len(s) > 1]
        if lines:
            raise UsageError(
                f"{plural(len(lines), 'key names', 'keys name')} several "
                f"clips:\n{list_lines(lines, _MOST_SHOWN)}\n"
                f"expected unique ids, because `--to {self.format.name}` finds clips by them; "
                "pass `--duplicate-keys prefix`, which puts the path of its shard before every "
                "key, or export the corpora apart with `--where`"
            )


def _close(plan: Plan, split: int, open_shards: dict[int, list[int]]) -> int:
    """End the open shard of a split, if there is one; the number of the next."""
    if split not in open_shards:
        return 0
    number, group, skip, samples = open_shards.pop(split)
    plan.shards.append(PlannedShard(split, number, group, skip, samples))
    return number + 1
