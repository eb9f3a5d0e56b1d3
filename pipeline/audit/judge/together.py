"""All metrics in one score of a clip: what makes a whole shard worse moves several of them.

A value is replaced by the normal quantile of its rank in the reference, which no skew and no unit
outlives; the score is a weighted sum of those, higher where worse. How much good shards differ in
it is seen from their means, as of any metric, so that metrics may go together as they like.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls
from scipy.special import ndtri

from pipeline.audit.findings import METRICS

Values = NDArray[np.float64]
# Metrics with a worse side; what two of them say alike counts once, by the weights. DNSMOS of the
# original describes no codec, but a shard with noisier recordings is one to listen to.
WORSE: Mapping[str, float] = {
    metric.name: -1.0 if metric.better == "higher" else 1.0
    for metric in METRICS
    if metric.name
    in (
        "sim",
        "stoi",
        "pesq_nb",
        "pesq_wb",
        "log_mel_distance_db",
        "f0_error_cents",
        "voicing_agreement",
        "cer_increase",
    )
} | {"dnsmos_original": -1.0}
# A clip without one of the metrics has no score, so a metric that many clips lack is left out.
_MIN_KNOWN = 0.9
# Correlations of few clips are uncertain: they are taken nearer to none by this share.
_SHRUNK = 0.5
# A value far outside of the reference counts as so many standard deviations at most.
_FARTHEST = 8.0
MAX_QUANTILES = 1000


def quantiles(values: Values) -> Values:
    """Values in order; of many, quantiles."""
    values = np.sort(values)
    if len(values) <= MAX_QUANTILES:
        return values
    points = (np.arange(MAX_QUANTILES) + 0.5) / MAX_QUANTILES
    return np.asarray(np.quantile(values, points), dtype=np.float64)


def normal_scores(values: Values, known: Values) -> Values:
    """The normal quantile of each value's rank among `known` ones, which are in order.

    What lies outside goes on in a straight line, so that far worse is more than worse.
    """
    ranks = np.searchsorted(known, values, "left") + np.searchsorted(known, values, "right")
    scores = ndtri((ranks + 1) / (2 * len(known) + 2))
    middle, farthest = known[len(known) // 2], -ndtri(0.5 / (len(known) + 1))
    for end, beyond in ((known[0], values < known[0]), (known[-1], values > known[-1])):
        if end != middle:
            scores[beyond] += farthest * (values[beyond] - end) / abs(end - middle)
    return np.asarray(np.clip(scores, -_FARTHEST, _FARTHEST), dtype=np.float64)


@dataclass(frozen=True, slots=True)
class Combination:
    """The weights of the metrics that make one score, each with the values it is ranked among."""

    weights: Mapping[str, float]
    known: Mapping[str, Values]

    def scores(self, columns: Mapping[str, Values]) -> Values:
        """The score of clips; NaN where a clip lacks one of the metrics."""
        parts = [
            weight * WORSE[name] * normal_scores(columns[name], self.known[name])
            for name, weight in self.weights.items()
        ]
        missing = [~np.isfinite(columns[name]) for name in self.weights]
        return np.where(np.any(missing, axis=0), np.nan, np.sum(parts, axis=0))


def combine(
    columns: Mapping[str, Values], shards: NDArray[np.int64] | NDArray[np.str_]
) -> Combination | None:
    """The combination that best tells a shard that is as much worse in every metric.

    Its weights come from how metrics of clips go together within shards, which says nothing of
    the means of shards: they are tested as if the weights had been fixed beforehand.
    """
    names = [name for name in WORSE if np.isfinite(columns[name]).mean() >= _MIN_KNOWN]
    complete = np.all([np.isfinite(columns[name]) for name in names], axis=0) if names else []
    if len(names) < 2 or not np.any(complete):
        return None
    known = {name: quantiles(columns[name][complete]) for name in names}
    scores = np.stack(
        [WORSE[name] * normal_scores(columns[name][complete], known[name]) for name in names]
    )
    _, index = np.unique(shards[complete], return_inverse=True)
    counts = np.bincount(index)
    means = np.stack([np.bincount(index, weights=row) / counts for row in scores])
    spread = scores - means[:, index]
    deviations = spread.std(axis=1)
    moving = np.flatnonzero(deviations > 0)
    if len(moving) < 2:
        return None
    found = (1 - _SHRUNK) * np.corrcoef(spread[moving]) + _SHRUNK * np.eye(len(moving))
    # A metric that must be better for the score to be worse would be hard to explain.
    weights, _ = nnls(found, np.ones(len(moving)))
    weights /= deviations[moving]
    return Combination(
        {names[place]: float(weight) for place, weight in zip(moving, weights, strict=True)},
        {names[place]: known[names[place]] for place in moving},
    )
