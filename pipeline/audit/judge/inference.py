"""What can be concluded from a sample: intervals, one shard against others, corrections.

Of one shard a sample is drawn by chance clip by clip, so clips are the units of what is said of
that shard alone. What is said beyond it takes whole clusters: clips of a shard, and of a speaker in
it, resemble each other. Nothing is drawn again (no bootstrap): Student's t serves few clusters too,
and fewer than three leave the spread unknown. `content.py` says what is compared with what.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import inf, sqrt

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri, stdtr, stdtrit  # scipy.stats takes long to import and to call

Values = NDArray[np.float64]
# The cluster of each value, by any name.
Clusters = Sequence[str] | NDArray[np.str_] | NDArray[np.int64]

LEVEL = 0.95
# From fewer shards the spread between shards is unknown, and nothing can be judged by it.
MIN_SHARDS = 3
_FEWEST_EFFECTIVE = 2.0


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


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean or a ratio with its standard error; `error` is infinite where it is unknown."""

    value: float
    error: float
    freedom: float
    num_values: int

    def half_width(self, tail: float) -> float:
        """The error that is passed upwards with a chance of `tail`."""
        return quantile_above(tail, self.freedom) * self.error if self.error < inf else inf

    @property
    def interval(self) -> Interval:
        """The value with its bounds."""
        half = self.half_width((1 - LEVEL) / 2)
        return Interval(self.value, self.value - half, self.value + half, self.num_values)

    @property
    def p_value(self) -> float:
        """The two-sided chance of a value so far from 0; 1 where the error is unknown."""
        if self.error == inf or self.value == 0:
            return 1.0
        # Values that are all the same have no scatter but that of their rounding.
        if self.error <= 1e-9 * abs(self.value):
            return 0.0
        return 2 * float(stdtr(self.freedom, -abs(self.value) / self.error))


def clustered_ratio(
    above: Sequence[float] | Values, below: Sequence[float] | Values, clusters: Clusters
) -> Estimate:
    """The sum of `above` over that of `below`, e.g. all errors over all words.

    Leaving out one cluster after the other shows how much it depends on which there are (the
    jackknife). Where a few clusters have most of the words, the spread is known as badly as if
    there were only those few: t takes its degrees of freedom from Kish's effective number.
    """
    _, places = np.unique(np.asarray(clusters), return_inverse=True)
    sums: Values = np.bincount(places, np.asarray(above, np.float64)).astype(np.float64)
    weights: Values = np.bincount(places, np.asarray(below, np.float64)).astype(np.float64)
    pooled = float(sums.sum() / weights.sum())
    count, effective = len(sums), effective_number(weights)
    # With a smaller effective number one cluster decides, and the others say nothing of its spread.
    if count < MIN_SHARDS or effective < _FEWEST_EFFECTIVE:
        return Estimate(pooled, inf, 1.0, len(places))
    without = (sums.sum() - sums) / (weights.sum() - weights)
    values = count * pooled - (count - 1) * without
    error = sqrt(float(values.var(ddof=1)) / count)
    return Estimate(pooled, error, effective - 1, len(places))


def clustered_mean(values: Values, *levels: Clusters, weights: Values | None = None) -> Estimate:
    """The mean over values; the least certain of those by each level of clusters.

    Clusters lie in each other, as speakers in shards. The outer level is right whatever the inner
    ones do, but where there are few outer clusters the inner ones may show more spread by chance.
    """
    weights = np.ones(len(values)) if weights is None else weights
    found = [clustered_ratio(values * weights, weights, clusters) for clusters in levels]
    return max(found, key=lambda each: each.half_width((1 - LEVEL) / 2))


def effective_number(weights: Values) -> float:
    """Of how many equal clusters a sample says as much (Kish)."""
    return float(weights.sum() ** 2 / np.square(weights).sum())


def share_interval(hits: int, total: int) -> Interval:
    """`hits` of `total` as a share, with Wilson's interval."""
    share, z = hits / total, -float(ndtri((1 - LEVEL) / 2))
    spread = 1 + z**2 / total
    centre = (share + z**2 / (2 * total)) / spread
    half = z / spread * sqrt(share * (1 - share) / total + z**2 / (4 * total**2))
    return Interval(share, max(0.0, centre - half), min(1.0, centre + half), total)


def unseen_share(num_seen: float) -> float:
    """The share of bad clips that a sample without a single bad one may still leave, at 95 %."""
    return 1 - (1 - LEVEL) ** (1 / num_seen) if num_seen else 1.0


@dataclass(frozen=True, slots=True)
class Spread:
    """How a metric's shard means lie in a reference.

    Attributes:
        variance: of the shard means, sampling error included.
        within: the variance of clips within a shard, averaged over shards.
        sampling: what of `variance` is the sampling error of a mean, averaged over shards.
        repeated: how much more of a clip's variance a shard's mean has because speakers speak
            several clips of it, as `Sample.repeated`, averaged over shards.
    """

    num_shards: int
    mean: float
    variance: float
    within: float
    sampling: float
    repeated: float = 0.0

    @property
    def is_known(self) -> bool:
        """Whether there are enough shards to know how much good ones differ."""
        return self.num_shards >= MIN_SHARDS


@dataclass(frozen=True, slots=True)
class Sample:
    """The values of one shard that are compared with one `Spread`.

    `effective` is Kish's number of clips, lower than their number where they have weights.
    `repeated` is 1 / (Kish's number of speakers) - 1 / effective: if clips of a speaker were all
    alike, the mean would have this share of a clip's variance on top.
    """

    mean: float
    variance: float
    num_values: int
    effective: float
    repeated: float = 0.0

    @property
    def estimate(self) -> Estimate:
        """The mean of this shard's clips, which were drawn by chance, for this shard alone."""
        error = sqrt(self.variance / self.effective) if self.num_values > 1 else inf
        return Estimate(self.mean, error, max(self.num_values - 1, 1), self.num_values)


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
    worse than those of the reference, by fewer values, fewer speakers or a wider scatter, that
    counts as well.
    """
    total = sum(sample.num_values for sample, _ in parts)
    difference = error = between = 0.0
    for sample, spread in parts:
        share = sample.num_values / total
        scatter = max(sample.variance, spread.within) / sample.effective
        extra = max(0.0, scatter - spread.sampling)
        extra += max(0.0, sample.repeated - spread.repeated) * spread.within
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


def holm(p_values: Values, weights: Values | None = None) -> Values:
    """Adjusted p-values: rejecting those up to alpha errs at all with at most that chance.

    However the tests hang together. With `weights` a test has that share of alpha, and what is
    rejected leaves its share to the others.
    """
    weights = np.ones(len(p_values)) if weights is None else weights
    order = np.argsort(p_values / weights, kind="stable")
    left = np.cumsum(weights[order][::-1])[::-1]
    adjusted = np.empty(len(p_values))
    adjusted[order] = np.minimum(
        np.maximum.accumulate(p_values[order] / weights[order] * left), 1.0
    )
    return adjusted
