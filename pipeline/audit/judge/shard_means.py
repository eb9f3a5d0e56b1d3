"""How the means of shards lie: of all shards, and of all but one, in one pass over sums."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.audit.judge.inference import Sample, Spread, Values

# The mean of fewer clips says little of how shards differ.
_MIN_CLIPS = 4


@dataclass(frozen=True, slots=True)
class Moments:
    """The fields of a `Sample`, as arrays over the shards that have a value."""

    names: list[str]
    means: Values
    variances: Values
    counts: NDArray[np.int64]
    effective: Values
    repeated: Values

    def samples(self) -> dict[str, Sample]:
        """One for each shard."""
        arrays = (self.means, self.variances, self.counts, self.effective, self.repeated)
        rows = zip(*(each.tolist() for each in arrays), strict=True)
        return {name: Sample(*row) for name, row in zip(self.names, rows, strict=True)}


@dataclass(frozen=True, slots=True)
class ShardMeans:
    """How one metric's shard means lie: of all shards, and of all but one.

    Attributes:
        others: of each shard that has a value, how the others lie.
    """

    whole: Spread
    others: Mapping[str, Spread]

    @classmethod
    def of(cls, found: Moments) -> "ShardMeans":
        """Out of the moments of all shards that have a value."""
        centre = float(found.means.mean())
        terms = _terms(found, centre)
        totals = terms.sum(axis=1, keepdims=True)
        (whole,) = _spreads(totals, centre)
        return cls(whole, dict(zip(found.names, _spreads(totals - terms, centre), strict=True)))

    def spread(self, without: str | None = None) -> Spread:
        """How the shard means lie, one shard left out."""
        return self.whole if without is None else self.others.get(without, self.whole)

    def num_shards(self, without: str | None = None) -> int:
        """The shards with enough clips, one left out."""
        return self.spread(without).num_shards


def _spreads(totals: Values, centre: float) -> list[Spread]:
    """What sums over shards say, `[6, sums]`, each of which may leave a shard out."""
    counts = np.rint(totals[0])
    offsets, squares, within, sampling, repeated = totals[1:] / np.maximum(counts, 1)
    scatter = np.maximum(squares - offsets**2, 0.0)
    variances = np.where(counts > 1, scatter * counts / np.maximum(counts - 1, 1), 0.0)
    columns = (counts.astype(np.int64), centre + offsets, variances, within, sampling, repeated)
    return [
        Spread(*row) if row[0] else Spread(0, 0.0, 0.0, 0.0, 0.0)
        for row in zip(*(each.tolist() for each in columns), strict=True)
    ]


def _terms(found: Moments, centre: float) -> Values:
    """What each shard adds to sums, `[6, shards]`; nothing where it has too few clips.

    One, mean - centre, its square, the variance, the sampling error, what repeated speakers add.
    One shard is left out by taking its share away.
    """
    offsets, sampling = found.means - centre, found.variances / found.effective
    rows = (np.ones(len(offsets)), offsets, offsets**2, found.variances, sampling, found.repeated)
    return (found.counts >= _MIN_CLIPS).astype(np.float64) * np.stack(rows)
