"""Tests and corrections: ranks against a baseline, sign flips of paired differences, many shards.

Ranks, because metrics of speech are skewed and a shard's sample is small: the mean rank of n clips
has the same known spread whatever the metric, with lighter tails than the normal.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import erfc, sqrt

import numpy as np
from scipy.special import stdtr

from pipeline.audit.judge.intervals import Values

_FLIPS = 4000
_FLIPS_AT_ONCE = 500_000
# The variance of a rank that is uniform in 0..1.
_RANK_VARIANCE = 1 / 12


@dataclass(frozen=True, slots=True)
class RankTest:
    """Where a sample lies in a baseline: `rank` 0.5 is the middle, 0 below all of it, 1 above."""

    rank: float
    p_lower: float
    p_higher: float


@dataclass(frozen=True, slots=True)
class ShardSpread:
    """The variance of the mean rank between clean shards, and from how many it was estimated."""

    variance: float
    num_shards: int


def ranks_in(values: Values, sorted_reference: Values) -> Values:
    """The rank 0..1 of each value among `sorted_reference`; ties count half."""
    below = np.searchsorted(sorted_reference, values, side="left")
    up_to = np.searchsorted(sorted_reference, values, side="right")
    ranks: Values = (below + up_to) / (2 * len(sorted_reference))
    return ranks


def rank_test(ranks: Values, num_reference: int, spread: ShardSpread | None = None) -> RankTest:
    """Test whether a sample with these ranks lies lower or higher than its reference.

    With a `spread`, clean shards that differ from each other (speakers and recording sessions
    cluster) are no news; how well it is known enters as Satterthwaite's degrees of freedom.
    """
    rank = float(ranks.mean())
    sampling = _RANK_VARIANCE * (1 / len(ranks) + 1 / num_reference)
    between = spread.variance if spread else 0.0
    z = (rank - 0.5) / sqrt(sampling + between)
    if not spread or between == 0.0:
        return RankTest(rank, p_lower=erfc(-z / sqrt(2)) / 2, p_higher=erfc(z / sqrt(2)) / 2)
    freedom = (spread.num_shards - 1) * ((sampling + between) / between) ** 2
    return RankTest(rank, p_lower=float(stdtr(freedom, z)), p_higher=float(stdtr(freedom, -z)))


def shard_spread(samples: Sequence[Values], sorted_reference: Values) -> ShardSpread:
    """How much the mean rank differs between shards beyond what sampling explains."""
    samples = [sample for sample in samples if len(sample) >= 2]
    if len(samples) < 3:
        return ShardSpread(0.0, len(samples))
    means = np.array([ranks_in(sample, sorted_reference).mean() for sample in samples])
    sampling = float(np.mean([_RANK_VARIANCE / len(sample) for sample in samples]))
    return ShardSpread(max(0.0, float(means.var(ddof=1)) - sampling), len(samples))


def paired_test(differences: Values, seed: int = 0) -> float:
    """The p-value of a mean paired difference, by flipping signs at random."""
    observed = abs(float(differences.mean()))
    if observed == 0.0:
        return 1.0
    rng = np.random.default_rng(seed)
    rows = max(1, _FLIPS_AT_ONCE // len(differences))
    extreme = 0
    for start in range(0, _FLIPS, rows):
        signs = rng.choice([-1.0, 1.0], (min(rows, _FLIPS - start), len(differences)))
        flipped = np.abs(signs @ differences) / len(differences)
        extreme += int(np.count_nonzero(flipped >= observed * (1 - 1e-12)))
    return float((1 + extreme) / (1 + _FLIPS))


def benjamini_hochberg(p_values: Values) -> Values:
    """Adjusted p-values: rejecting those up to q keeps false discoveries to a share of q."""
    count = len(p_values)
    order = np.argsort(p_values)
    scaled = p_values[order] * count / np.arange(1, count + 1)
    adjusted = np.empty(count)
    adjusted[order] = np.minimum(np.minimum.accumulate(scaled[::-1])[::-1], 1.0)
    return adjusted


def holm(p_values: Values) -> Values:
    """Adjusted p-values: rejecting those up to alpha errs at all with at most that chance."""
    count = len(p_values)
    order = np.argsort(p_values)
    scaled = p_values[order] * np.arange(count, 0, -1)
    adjusted = np.empty(count)
    adjusted[order] = np.minimum(np.maximum.accumulate(scaled), 1.0)
    return adjusted
