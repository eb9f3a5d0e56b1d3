"""How sure a number is: bootstrap intervals of means, Wilson intervals of shares."""

from dataclasses import dataclass
from functools import lru_cache
from math import sqrt

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]

LEVEL = 0.95
_NORMAL_95 = 1.959963984540054
_DRAWS = 1000
# Above this many values the bootstrap equals the normal interval to three digits.
_BOOTSTRAP_MAX = 2000


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate with the bounds that hold it in 95 % of repetitions."""

    estimate: float
    low: float
    high: float
    num_values: int

    def excludes(self, value: float) -> bool:
        """Whether `value` lies outside the bounds."""
        return not self.low <= value <= self.high

    def moved(self, by: float) -> "Interval":
        """The same interval with `by` added to the estimate and both bounds."""
        return Interval(self.estimate + by, self.low + by, self.high + by, self.num_values)


@lru_cache(maxsize=64)
def _draws(num_values: int, seed: int) -> NDArray[np.int32]:
    # One index matrix for each sample size: a run of thousands of shards draws once, not per shard.
    rng = np.random.default_rng([seed, num_values])
    return rng.integers(0, num_values, (_DRAWS, num_values), dtype=np.int32)


def _bootstrap_means(values: Values, seed: int) -> Values:
    if len(values) > _BOOTSTRAP_MAX:
        spread = float(values.std(ddof=1)) / sqrt(len(values))
        rng = np.random.default_rng([seed, len(values)])
        return rng.normal(float(values.mean()), spread, _DRAWS)
    means: Values = values[_draws(len(values), seed)].mean(axis=1)
    return means


def _from_means(estimate: float, means: Values, num_values: int) -> Interval:
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(estimate, float(low), float(high), num_values)


def mean_interval(values: Values, seed: int = 0) -> Interval:
    """The mean of `values` (non-empty, finite) with its percentile bootstrap interval."""
    return _from_means(float(values.mean()), _bootstrap_means(values, seed), len(values))


def share_interval(hits: int, total: int) -> Interval:
    """`hits` of `total` as a share, with Wilson's interval; it stays honest at 0 and at 1."""
    share = hits / total
    weight = _NORMAL_95**2 / total
    middle = (share + weight / 2) / (1 + weight)
    half = sqrt(share * (1 - share) * weight + weight**2 / 4) / (1 + weight)
    return Interval(share, max(0.0, middle - half), min(1.0, middle + half), total)
