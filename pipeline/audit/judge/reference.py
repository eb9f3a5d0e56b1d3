"""What shards are compared with: the means of other shards, by metric, corpus and language."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.audit.findings import METRICS, TOGETHER, ClipFinding
from pipeline.audit.judge.inference import MIN_SHARDS, Spread, Values
from pipeline.audit.judge.together import (
    Combination,
    combine,
    normal_scores,
    quantiles,
)

# (corpus, language); (None, None) is everything.
Group = tuple[str | None, str | None]
WHOLE: Group = (None, None)
# From fewer shards the spread is known so badly that hardly anything can be found.
FEW_SHARDS = 10
# The mean of fewer clips says little of how shards differ.
_MIN_CLIPS = 4


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


@dataclass(frozen=True, slots=True)
class ShardMeans:
    """Mean, variance and number of one metric's values in each shard that has some."""

    place: Mapping[str, int]
    # Of every shard with enough clips: one, mean - centre, its square, the variance, the sampling
    # error; and their sums. One shard is left out by taking its share away.
    centre: float
    terms: Values
    totals: Values

    @classmethod
    def of(cls, shards: Sequence[str], values: Values) -> "ShardMeans":
        """Out of the values of clips and the shards they are from."""
        names, index = np.unique(np.array(shards, dtype=np.str_), return_inverse=True)
        counts = np.bincount(index, minlength=len(names))
        means = np.bincount(index, weights=values, minlength=len(names)) / counts
        squares = np.bincount(index, weights=(values - means[index]) ** 2, minlength=len(names))
        variances = squares / np.maximum(counts - 1, 1)
        place = {str(name): number for number, name in enumerate(names)}
        centre = float(means.mean())
        terms = _terms(means - centre, variances, counts)
        return cls(place, centre, terms, terms.sum(axis=1))

    def num_shards(self, without: str | None = None) -> int:
        """The shards with enough clips, one left out."""
        at = self.place.get(without) if without is not None else None
        return round(float(self.totals[0] - (self.terms[0, at] if at is not None else 0.0)))

    def spread(self, without: str | None = None) -> Spread:
        """How the shard means lie, one shard left out."""
        totals = self.totals
        at = self.place.get(without) if without is not None else None
        if at is not None:
            totals = totals - self.terms[:, at]
        count = round(float(totals[0]))
        if not count:
            return Spread(0, 0.0, 0.0, 0.0, 0.0)
        offset, squares, within, sampling = (float(total) for total in totals[1:] / count)
        scatter = max(0.0, squares - offset**2)
        return Spread(
            num_shards=count,
            mean=self.centre + offset,
            variance=scatter * count / (count - 1) if count > 1 else 0.0,
            within=within,
            sampling=sampling,
        )


def _terms(offsets: Values, variances: Values, counts: NDArray[np.int64]) -> Values:
    """What each shard adds to the totals, `[5, shards]`; nothing where it has too few clips."""
    used = (counts >= _MIN_CLIPS).astype(np.float64)
    return used * np.stack(
        [np.ones(len(counts)), offsets, offsets**2, variances, variances / counts]
    )


def by_shard(clips: Iterable[ClipFinding]) -> dict[str, list[ClipFinding]]:
    """Clips in lists by shard, shards in the order they first appear."""
    shards: dict[str, list[ClipFinding]] = {}
    for clip in clips:
        shards.setdefault(clip.shard, []).append(clip)
    return shards


def metric_column(clips: Sequence[ClipFinding], metric: str) -> Values:
    """One metric over clips as an array; NaN where it is missing."""
    found = [getattr(clip.scores, metric) for clip in clips]
    return np.array([np.nan if value is None else value for value in found], np.float64)


def finite_values(clips: Sequence[ClipFinding], metric: str) -> Values:
    """One metric over clips as an array, missing ones left out."""
    values = metric_column(clips, metric)
    return values[np.isfinite(values)]


class ClipColumns:
    """The metrics of clips as arrays; one pass over the clips, whatever is asked of them after."""

    def __init__(self, clips: Sequence[ClipFinding]) -> None:
        # In a stated order: sums of floating-point numbers depend on it.
        self.clips = sorted(clips, key=lambda clip: (clip.shard, clip.row))
        self._shards = [clip.shard for clip in self.clips]
        self._members: dict[Group, NDArray[np.int64]] = {}
        self._means: dict[tuple[Group, str, bool], ShardMeans | None] = {}
        self._known: dict[tuple[Group, str], Values] = {}
        self._combinations: dict[Group, Combination | None] = {}
        numbers: dict[Group, list[int]] = {WHOLE: list(range(len(self.clips)))}
        for number, clip in enumerate(self.clips):
            for group in dict.fromkeys(((clip.corpus, clip.language), (None, clip.language))):
                if group != WHOLE:
                    numbers.setdefault(group, []).append(number)
        self._members = {group: np.array(found, np.int64) for group, found in numbers.items()}
        self._columns = {each.name: metric_column(self.clips, each.name) for each in METRICS}

    @property
    def groups(self) -> tuple[Group, ...]:
        """All groups that have a clip, in order."""
        return tuple(sorted(self._members, key=lambda group: (group[0] or "", group[1] or "")))

    def values(self, metric: str, group: Group = WHOLE) -> Values:
        """All values of a metric, missing ones left out."""
        found = self._columns[metric][self._members.get(group, np.zeros(0, np.int64))]
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
            members = self._members.get(group, np.zeros(0, np.int64))
            columns = {name: column[members] for name, column in self._columns.items()}
            shards = [self._shards[number] for number in members]
            self._combinations[group] = combine(columns, shards) if len(members) else None
        return self._combinations[group]

    def _by_shard(self, metric: str, group: Group, plain: bool) -> ShardMeans | None:
        members = self._members.get(group, np.zeros(0, np.int64))
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
        shards = [self._shards[number] for number in members[known]]
        values = values[known]
        if not plain and metric != TOGETHER:
            values = normal_scores(values, self._quantiles(metric, group))
        return ShardMeans.of(shards, values)
