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
_BOOTSTRAP_MAX = 1000


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


@lru_cache(maxsize=16)
def _weights(num_values: int, seed: int) -> NDArray[np.float32]:
    # One matrix for each sample size: a run of thousands of shards draws once, not per shard, and
    # a mean of every draw is one product.
    rng = np.random.default_rng([seed, num_values])
    drawn = rng.multinomial(num_values, np.full(num_values, 1 / num_values), _DRAWS)
    return (drawn / num_values).astype(np.float32)


def _bootstrap_means(values: Values, seed: int) -> Values:
    if len(values) > _BOOTSTRAP_MAX:
        spread = float(values.std(ddof=1)) / sqrt(len(values))
        rng = np.random.default_rng([seed, len(values)])
        return rng.normal(float(values.mean()), spread, _DRAWS)
    centre = float(values.mean())
    # Centred, so that single precision is enough for the spread.
    means = _weights(len(values), seed) @ (values - centre).astype(np.float32)
    return means.astype(np.float64) + centre


def _from_means(estimate: float, means: Values, num_values: int) -> Interval:
    tail = int(len(means) * (1 - LEVEL) / 2)
    ordered = np.partition(means, [tail, len(means) - 1 - tail])
    return Interval(estimate, float(ordered[tail]), float(ordered[-1 - tail]), num_values)


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
