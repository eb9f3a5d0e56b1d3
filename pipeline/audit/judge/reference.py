"""What shards are compared with: the means of other shards, by metric, corpus and language."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.audit.findings import METRIC_NAMES, TOGETHER, ClipFinding
from pipeline.audit.judge.inference import MIN_SHARDS, Sample, Spread, Values
from pipeline.audit.judge.shard_means import Moments, ShardMeans
from pipeline.audit.judge.thresholds import SILENT_SHARE
from pipeline.audit.judge.together import (
    Combination,
    combine,
    normal_scores,
    quantiles,
)

# (corpus, language); (None, None) is everything.
Group = tuple[str | None, str | None]
Rows = NDArray[np.int64]
WHOLE: Group = (None, None)
# From fewer shards the spread is known so badly that hardly anything can be found.
FEW_SHARDS = 10


@dataclass(frozen=True, slots=True)
class Reference:
    """One metric of one group: on the scale on which it is tested, and as it is read.

    Attributes:
        tested: of the normal scores of values among `values`.
        values: its distribution over clips, sorted; quantiles of a large one.
    """

    tested: Spread
    plain: Spread
    values: Values
    num_clips: int


@dataclass(frozen=True, slots=True)
class Together:
    """The one score of all metrics of one group, and how it lies in the reference."""

    combination: Combination
    spread: Spread


class References(Protocol):
    """What clips of a group are compared with, one shard left out; None where there is none."""

    def reference(self, group: Group, metric: str, without: str | None) -> Reference | None:
        """One metric."""

    def together(self, group: Group, without: str | None) -> Together | None:
        """All metrics as one score."""


def wider_groups(group: Group) -> tuple[Group, ...]:
    """The groups that may judge clips of a group, nearest first; never those of other languages."""
    _, language = group
    return (WHOLE,) if language is None else (group, (None, language))


def pick_group(group: Group, num_shards: Callable[[Group], int]) -> Group | None:
    """The nearest group of enough shards, else the one of most; None where none is enough."""
    candidates = wider_groups(group)
    for candidate in candidates:
        if num_shards(candidate) >= FEW_SHARDS:
            return candidate
    largest = max(candidates, key=num_shards)
    return largest if num_shards(largest) >= MIN_SHARDS else None


def spoken(clips: Iterable[ClipFinding]) -> list[ClipFinding]:
    """The clips that are not silent; how silence comes through a codec says nothing of speech."""
    return [clip for clip in clips if (clip.scores.silent_original or 0) <= SILENT_SHARE]


def by_shard(clips: Iterable[ClipFinding]) -> dict[str, list[ClipFinding]]:
    """Clips in lists by shard, shards in the order they first appear."""
    shards: dict[str, list[ClipFinding]] = {}
    for clip in clips:
        shards.setdefault(clip.shard, []).append(clip)
    return shards


def metric_column(clips: Sequence[ClipFinding], metric: str) -> Values:
    """One metric over clips as an array; NaN where it is missing."""
    return np.array([getattr(clip.scores, metric) for clip in clips], np.float64)


def finite_values(clips: Sequence[ClipFinding], metric: str) -> Values:
    """One metric over clips as an array, missing ones left out."""
    values = metric_column(clips, metric)
    return values[np.isfinite(values)]


class ClipColumns:
    """The metrics of clips as arrays; one pass over the clips, whatever is asked of them after.

    `shards` and `speakers` are the clusters of each clip: its shard, and the speaker in it, where
    unknown the shard again.
    """

    def __init__(self, clips: Iterable[ClipFinding]) -> None:
        # In a stated order: sums of floating-point numbers depend on it.
        self.clips = sorted(clips, key=lambda clip: (clip.shard, clip.row))
        names, shards = np.unique([clip.shard for clip in self.clips], return_inverse=True)
        self._shard_names: list[str] = names.tolist()
        self.shards = shards.astype(np.int64)
        speakers = [(clip.shard, clip.speaker or "") for clip in self.clips]
        numbers = {speaker: number for number, speaker in enumerate(dict.fromkeys(speakers))}
        self.speakers = np.array([numbers[speaker] for speaker in speakers], dtype=np.int64)
        # A clip of an unknown speaker counts as a voice of its own.
        is_known = np.array([bool(clip.speaker) for clip in self.clips], dtype=np.bool_)
        self._voices = np.where(is_known, self.speakers, -1 - np.arange(len(self.clips)))
        self.weights = np.array([clip.weight for clip in self.clips], dtype=np.float64)
        self._rows = {(clip.shard, clip.row): n for n, clip in enumerate(self.clips)}
        groups = [(clip.corpus, clip.language) for clip in self.clips]
        self._own_groups: tuple[Group, ...] = tuple(
            sorted(dict.fromkeys(groups), key=lambda group: (group[0] or "", group[1] or ""))
        )
        places = {group: number for number, group in enumerate(self._own_groups)}
        self._group_of = np.array([places[group] for group in groups], dtype=np.int64)
        self._means: dict[tuple[Group, str, bool], ShardMeans | None] = {}
        self._known: dict[tuple[Group, str], Values] = {}
        self._combinations: dict[Group, Combination | None] = {}
        members: dict[Group, list[int]] = {WHOLE: list(range(len(self.clips)))}
        for number, (corpus, language) in enumerate(groups):
            for group in dict.fromkeys(((corpus, language), (None, language))):
                if group != WHOLE:
                    members.setdefault(group, []).append(number)
        self._members = {group: np.array(found, np.int64) for group, found in members.items()}
        scores = attrgetter(*METRIC_NAMES)
        # NumPy takes `None` for NaN.
        values = np.array([scores(clip.scores) for clip in self.clips], np.float64)
        columns = np.ascontiguousarray(values.reshape(-1, len(METRIC_NAMES)).T)
        self._columns: dict[str, Values] = dict(zip(METRIC_NAMES, columns, strict=True))

    def rows(self, clips: Iterable[ClipFinding]) -> Rows:
        """Where clips are in the columns."""
        return np.array([self._rows[clip.shard, clip.row] for clip in clips], dtype=np.int64)

    @property
    def all_rows(self) -> Rows:
        """The rows of all clips."""
        return np.arange(len(self.clips))

    def by_shard(self, rows: Rows) -> list[tuple[str, Rows]]:
        """Rows by their shards, in order."""
        rows = np.sort(rows)
        if not len(rows):
            return []
        shards = self.shards[rows]
        starts = np.flatnonzero(shards[1:] != shards[:-1]) + 1
        return [(self._shard_names[self.shards[part[0]]], part) for part in np.split(rows, starts)]

    def groups_of(self, rows: Rows) -> tuple[Group, ...]:
        """The corpora and languages of some clips, in order."""
        return tuple(self._own_groups[number] for number in np.unique(self._group_of[rows]))

    def column(self, metric: str, rows: Rows | None = None) -> Values:
        """One metric of some clips, or of all; NaN where it is missing."""
        return self._columns[metric] if rows is None else self._columns[metric][rows]

    def samples(self, values: Values, rows: Rows | None = None) -> dict[str, Sample]:
        """What is tested of the values of some clips, or of all, by shard."""
        rows = self.all_rows if rows is None else rows
        known = np.isfinite(values)
        return self._moments(rows[known], values[known]).samples() if known.any() else {}

    def _moments(self, rows: Rows, values: Values) -> Moments:
        """What is known of the shards of some clips by a value of each."""
        shards, index = np.unique(self.shards[rows], return_inverse=True)
        weights = self.weights[rows]

        def sums(of: Values) -> Values:
            return np.bincount(index, of, len(shards)).astype(np.float64)

        counts, total = np.bincount(index, minlength=len(shards)), sums(weights)
        means = sums(weights * values) / total
        squares = sums(weights * (values - means[index]) ** 2) / total
        variances = squares * counts / np.maximum(counts - 1, 1)
        effective = total**2 / sums(weights**2)
        _, first, places = np.unique(self._voices[rows], return_index=True, return_inverse=True)
        spoken = np.bincount(places, weights=weights)
        heard = np.bincount(index[first], weights=spoken**2, minlength=len(shards))
        names = [self._shard_names[number] for number in shards.tolist()]
        repeated = heard / total**2 - 1 / effective
        return Moments(names, means, variances, counts, effective, repeated)

    def members(self, group: Group) -> Rows:
        """The rows of a group's clips."""
        return self._members.get(group, np.zeros(0, np.int64))

    @property
    def groups(self) -> tuple[Group, ...]:
        """All groups that have a clip, in order."""
        return tuple(sorted(self._members, key=lambda group: (group[0] or "", group[1] or "")))

    def values(self, metric: str, group: Group = WHOLE) -> Values:
        """All values of a metric, missing ones left out."""
        found = self._columns[metric][self.members(group)]
        return found[np.isfinite(found)]

    def shard_means(self, metric: str, group: Group, plain: bool) -> ShardMeans | None:
        """A metric by shards, on the scale of its test or as it is read; None without a value.

        `TOGETHER` is the score of all metrics.
        """
        asked = (group, metric, plain)
        if asked not in self._means:
            self._means[asked] = self._by_shard(metric, group, plain)
        return self._means[asked]

    def reference(self, group: Group, metric: str, without: str | None = None) -> Reference | None:
        """What clips of a group are compared with, one shard left out."""
        picked = self._picked(group, metric, without)
        if picked is None:
            return None
        tested, plain = (self.shard_means(metric, picked, plain) for plain in (False, True))
        if tested is None or plain is None:
            return None
        known = self._quantiles(metric, picked)
        return Reference(tested.spread(without), plain.spread(without), known, len(known))

    def together(self, group: Group, without: str | None = None) -> Together | None:
        """What the score of all metrics of such clips is compared with, one shard left out."""
        picked = self._picked(group, TOGETHER, without)
        return None if picked is None else self.stored_together(picked, without)

    def stored_reference(self, group: Group, metric: str) -> Reference | None:
        """All there is of a metric in exactly this group, to be kept in a file."""
        tested, plain = (self.shard_means(metric, group, plain) for plain in (False, True))
        if tested is None or plain is None:
            return None
        values = self.values(metric, group)
        return Reference(tested.spread(), plain.spread(), quantiles(values), len(values))

    def stored_together(self, group: Group, without: str | None = None) -> Together | None:
        """The score of all metrics in exactly this group."""
        combination, means = self._combination(group), self.shard_means(TOGETHER, group, False)
        return Together(combination, means.spread(without)) if combination and means else None

    def _picked(self, group: Group, metric: str, without: str | None) -> Group | None:
        def num_shards(asked: Group) -> int:
            means = self.shard_means(metric, asked, plain=False)
            return means.num_shards(without) if means else 0

        return pick_group(group, num_shards)

    def _quantiles(self, metric: str, group: Group) -> Values:
        if (group, metric) not in self._known:
            self._known[group, metric] = quantiles(self.values(metric, group))
        return self._known[group, metric]

    def _combination(self, group: Group) -> Combination | None:
        if group not in self._combinations:
            members = self.members(group)
            columns = {name: column[members] for name, column in self._columns.items()}
            found = combine(columns, self.shards[members]) if len(members) else None
            self._combinations[group] = found
        return self._combinations[group]

    def _by_shard(self, metric: str, group: Group, plain: bool) -> ShardMeans | None:
        members = self.members(group)
        if metric == TOGETHER:
            combination = self._combination(group)
            if combination is None:
                return None
            columns = {name: self._columns[name][members] for name in combination.weights}
            values = combination.scores(columns)
        else:
            values = self._columns[metric][members]
        known = np.isfinite(values)
        if not known.any():
            return None
        members, values = members[known], values[known]
        if not plain and metric != TOGETHER:
            values = normal_scores(values, self._quantiles(metric, group))
        return ShardMeans.of(self._moments(members, values))
