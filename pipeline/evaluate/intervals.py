"""Estimates over clips with intervals by speakers, whose clips resemble each other.

An estimate is a ratio of sums over clips: a mean, or errors over words. `clustered_ratio`, which
serves the audit as well, says how much it depends on who speaks.
"""

from collections.abc import Sequence

import numpy as np

from pipeline.audit.judge.inference import Interval, Values, clustered_ratio


def mean_by_speaker(values: Sequence[float], speakers: Sequence[str]) -> Interval:
    """The mean over clips; without bounds for fewer than three speakers."""
    return ratio_by_speaker(values, np.ones(len(values)), speakers)


def ratio_by_speaker(
    above: "Sequence[float] | Values", below: "Sequence[float] | Values", speakers: Sequence[str]
) -> Interval:
    """The sum of `above` over that of `below`, e.g. all errors over all words."""
    return clustered_ratio(above, below, speakers).interval


def ratio_difference(
    above: "Sequence[float] | Values",
    other: "Sequence[float] | Values",
    below: "Sequence[float] | Values",
    speakers: Sequence[str],
) -> Interval:
    """How much larger the first ratio is than the second, of the same clips with the same sums."""
    difference = np.asarray(above, np.float64) - np.asarray(other, np.float64)
    return ratio_by_speaker(difference, below, speakers)
