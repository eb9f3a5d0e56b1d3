"""Estimates over clips with intervals by speakers, whose clips resemble each other.

An estimate is a ratio of sums over clips: a mean, or errors over words. Leaving out one speaker
after the other shows how much it depends on who speaks (the jackknife). Where a few speakers have
most of the words, the spread is known as badly as if there were only those few: Student's t takes
its degrees of freedom from Kish's effective number of speakers.
"""

from collections.abc import Sequence
from math import inf, sqrt

import numpy as np

from pipeline.audit.judge.inference import LEVEL, MIN_SHARDS, Interval, Values, quantile_above

# With a smaller effective number, one speaker decides and the spread of others says nothing of it.
_FEWEST_EFFECTIVE = 2.0


def mean_by_speaker(values: Sequence[float], speakers: Sequence[str]) -> Interval:
    """The mean over clips; without bounds for fewer than three speakers."""
    return ratio_by_speaker(values, np.ones(len(values)), speakers)


def ratio_by_speaker(
    above: "Sequence[float] | Values", below: "Sequence[float] | Values", speakers: Sequence[str]
) -> Interval:
    """The sum of `above` over that of `below`, e.g. all errors over all words."""
    sums, weights = _sums(above, speakers), _sums(below, speakers)
    pooled = float(sums.sum() / weights.sum())
    half = _half_width(sums, weights, pooled)
    return Interval(pooled, pooled - half, pooled + half, len(speakers))


def ratio_difference(
    above: "Sequence[float] | Values",
    other: "Sequence[float] | Values",
    below: "Sequence[float] | Values",
    speakers: Sequence[str],
) -> Interval:
    """How much larger the first ratio is than the second, of the same clips with the same sums."""
    difference = np.asarray(above, np.float64) - np.asarray(other, np.float64)
    return ratio_by_speaker(difference, below, speakers)


def effective_number(weights: Values) -> float:
    """Of how many equal speakers a sample says as much (Kish)."""
    return float(weights.sum() ** 2 / np.square(weights).sum())


def _sums(values: "Sequence[float] | Values", speakers: Sequence[str]) -> Values:
    _, places = np.unique(np.asarray(speakers), return_inverse=True)
    sums: Values = np.bincount(places, np.asarray(values, np.float64)).astype(np.float64)
    return sums


def _half_width(sums: Values, weights: Values, pooled: float) -> float:
    count, effective = len(sums), effective_number(weights)
    if count < MIN_SHARDS or effective < _FEWEST_EFFECTIVE:
        return inf
    without = (sums.sum() - sums) / (weights.sum() - weights)
    values = count * pooled - (count - 1) * without
    error = sqrt(float(values.var(ddof=1)) / count)
    return quantile_above((1 - LEVEL) / 2, effective - 1) * error
