"""What can be concluded from a sample: intervals, one shard against others, corrections.

Clips of a shard resemble each other, so the unit of every test is the mean of a shard. `content.py`
says what is compared with what; nothing here knows a metric.
"""

from dataclasses import dataclass
from functools import lru_cache
from math import inf, sqrt

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from scipy.special import stdtr, stdtrit  # scipy.stats.t without its cost of a call

Values = NDArray[np.float64]

LEVEL = 0.95
# From fewer shards the spread between shards is unknown, and nothing can be judged by it.
MIN_SHARDS = 3


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate with the bounds that hold it in 95 % of repetitions; infinite where unknown."""

    estimate: float
    low: float
    high: float
    num_values: int

    def excludes(self, value: float) -> bool:
        """Whether `value` lies outside the bounds."""
        return not self.low <= value <= self.high

    @property
    def is_known(self) -> bool:
        """Whether the sample was large enough for bounds."""
        return self.low > -inf


@lru_cache(maxsize=4096)
def quantile_above(tail: float, freedom: float) -> float:
    """The value that Student's t passes with a chance of `tail`."""
    return -float(stdtrit(freedom, tail))


def mean_interval(values: Values) -> Interval:
    """The mean of independent values (not empty, finite) with its t interval."""
    count = len(values)
    mean = float(values.mean())
    if count < 2:
        return Interval(mean, -inf, inf, count)
    half = quantile_above((1 - LEVEL) / 2, count - 1) * sqrt(float(values.var(ddof=1)) / count)
    return Interval(mean, mean - half, mean + half, count)


def clustered_interval(cluster_means: Values, num_values: int) -> Interval:
    """The mean over clusters; without bounds where there are too few to know their spread."""
    found = mean_interval(cluster_means)
    if len(cluster_means) < MIN_SHARDS:
        return Interval(found.estimate, -inf, inf, num_values)
    return Interval(found.estimate, found.low, found.high, num_values)


def share_interval(hits: int, total: int) -> Interval:
    """`hits` of `total` as a share, with Wilson's interval."""
    bounds = stats.binomtest(hits, total).proportion_ci(LEVEL, method="wilson")
    return Interval(hits / total, float(bounds.low), float(bounds.high), total)


def unseen_share(num_seen: int) -> float:
    """The share of bad clips that a sample without a single bad one may still leave, at 95 %."""
    return 1 - (1 - LEVEL) ** (1 / num_seen) if num_seen else 1.0


@dataclass(frozen=True, slots=True)
class Spread:
    """How a metric's shard means lie in a reference.

    Attributes:
        variance: of the shard means, sampling error included.
        within: the variance of clips within a shard, averaged over shards.
        sampling: what of `variance` is the sampling error of a mean, averaged over shards.
    """

    num_shards: int
    mean: float
    variance: float
    within: float
    sampling: float

    @property
    def is_known(self) -> bool:
        """Whether there are enough shards to know how much good ones differ."""
        return self.num_shards >= MIN_SHARDS


@dataclass(frozen=True, slots=True)
class Sample:
    """The values of one shard that are compared with one `Spread`."""

    mean: float
    variance: float
    num_values: int


@dataclass(frozen=True, slots=True)
class Prediction:
    """How far a shard's mean lies from what its reference predicts.

    `error` is the standard deviation of `difference` for a shard like those of the reference,
    `between` that of a shard's mean in the reference alone.
    """

    difference: float
    error: float
    between: float
    num_shards: int

    @property
    def p_higher(self) -> float:
        """The chance of a mean at least as high, were the shard like those of the reference."""
        return _upper_tail(self.difference, self.error, self.num_shards - 1)

    @property
    def p_lower(self) -> float:
        """The chance of a mean at least as low."""
        return _upper_tail(-self.difference, self.error, self.num_shards - 1)

    def half_width(self, tail: float) -> float:
        """The difference that a shard like the others passes upwards with a chance of `tail`."""
        return quantile_above(tail, self.num_shards - 1) * self.error

    def interval(self, num_values: int) -> Interval:
        """The difference with the bounds that a prediction has."""
        half = self.half_width((1 - LEVEL) / 2)
        return Interval(self.difference, self.difference - half, self.difference + half, num_values)


def _upper_tail(difference: float, error: float, freedom: int) -> float:
    if error > 0:
        return float(stdtr(freedom, -difference / error))
    return 0.0 if difference > 0 else 1.0


def predict(parts: list[tuple[Sample, Spread]]) -> Prediction:
    """One shard against a reference, as the t prediction of a further shard mean.

    A shard with clips of several groups has a part for each. Their errors are added as if one
    cause moved them all, which errs on the side of no finding. Where the shard's own mean is known
    worse than those of the reference, by fewer values or a wider scatter, that counts as well.
    """
    total = sum(sample.num_values for sample, _ in parts)
    difference = error = between = 0.0
    for sample, spread in parts:
        share = sample.num_values / total
        scatter = max(sample.variance, spread.within) / sample.num_values
        extra = max(0.0, scatter - spread.sampling)
        difference += share * (sample.mean - spread.mean)
        error += share * sqrt(spread.variance * (1 + 1 / spread.num_shards) + extra)
        between += share * sqrt(spread.variance)
    return Prediction(difference, error, between, min(spread.num_shards for _, spread in parts))


def predict_many(shards: list[Prediction]) -> Prediction:
    """The mean of several shards against the same reference."""
    differences = [each.difference for each in shards]
    fewest = min(each.num_shards for each in shards)
    variance = float(np.mean([each.error**2 for each in shards])) / len(shards)
    # What is not known of the reference's mean is the same for all of them.
    variance += max(each.between**2 for each in shards) / fewest
    between = float(np.mean([each.between for each in shards]))
    return Prediction(float(np.mean(differences)), sqrt(variance), between, fewest)


def paired_test(differences: Values) -> float:
    """The two-sided p-value of a mean paired difference; 1 where it cannot be known."""
    count = len(differences)
    if count < 2 or not differences.any():
        return 1.0
    mean = float(differences.mean())
    error = sqrt(float(differences.var(ddof=1)) / count)
    # Differences that are all the same have no scatter but that of their rounding.
    if error <= 1e-9 * abs(mean):
        return 0.0
    return 2 * float(stdtr(count - 1, -abs(mean) / error))


def holm(p_values: Values) -> Values:
    """Adjusted p-values: rejecting those up to alpha errs at all with at most that chance."""
    count = len(p_values)
    order = np.argsort(p_values, kind="stable")
    scaled = p_values[order] * np.arange(count, 0, -1)
    adjusted = np.empty(count)
    adjusted[order] = np.minimum(np.maximum.accumulate(scaled), 1.0)
    return adjusted
