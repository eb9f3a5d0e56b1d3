"""Estimates over clips with intervals by speakers, whose clips resemble each other.

An estimate is a ratio of sums over clips: a mean, or errors over words. Leaving out one speaker
after the other gives a value for each of them (the jackknife), from which the audit's interval by
clusters is made.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from pipeline.audit.judge.inference import Interval, Values, clustered_interval


def mean_by_speaker(values: Sequence[float], speakers: Sequence[str]) -> Interval:
    """The mean over clips; without bounds for fewer than three speakers."""
    return ratio_by_speaker(values, np.ones(len(values)), speakers)


def ratio_by_speaker(
    above: "Sequence[float] | Values", below: "Sequence[float] | Values", speakers: Sequence[str]
) -> Interval:
    """The sum of `above` over that of `below`, e.g. all errors over all words."""
    sums = np.stack([_sums(above, speakers), _sums(below, speakers)])
    pooled = float(sums[0].sum() / sums[1].sum())
    return _jackknifed(pooled, _without_each(sums), len(speakers))


def ratio_difference(
    above: "Sequence[float] | Values",
    other: "Sequence[float] | Values",
    below: "Sequence[float] | Values",
    speakers: Sequence[str],
) -> Interval:
    """How much larger the first ratio is than the second, of the same clips with the same sums."""
    difference = np.asarray(above, np.float64) - np.asarray(other, np.float64)
    return ratio_by_speaker(difference, below, speakers)


def _sums(values: "Sequence[float] | Values", speakers: Sequence[str]) -> Values:
    _, places = np.unique(np.asarray(speakers), return_inverse=True)
    sums: Values = np.bincount(places, np.asarray(values, np.float64)).astype(np.float64)
    return sums


def _without_each(sums: Values) -> Values:
    left = sums.sum(axis=1, keepdims=True) - sums
    ratios: Values = left[0] / left[1] if sums.shape[1] > 1 else np.empty(0)
    return ratios


def _jackknifed(pooled: float, without: Values, num_values: int) -> Interval:
    if len(without) < 2:
        return Interval(pooled, -np.inf, np.inf, num_values)
    values = len(without) * pooled - (len(without) - 1) * without
    return replace(clustered_interval(values, num_values), estimate=pooled)
