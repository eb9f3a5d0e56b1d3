"""Two runs or two checkpoints on the same clips: paired differences of every metric, B minus A."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from pipeline.audit.findings import METRICS, AuditFindings, ClipFinding
from pipeline.audit.judge.inference import Interval, Values, holm, mean_interval, paired_test
from pipeline.audit.judge.thresholds import Thresholds
from pipeline.errors import UsageError

Winner = Literal["A", "B", "neither"]
_BETTER = {metric.name: metric.better for metric in METRICS}


@dataclass(frozen=True, slots=True)
class ClipPair:
    """The same clip on both sides."""

    a: ClipFinding
    b: ClipFinding

    def difference(self, metric: str) -> float | None:
        """B minus A; None where either side has no figure."""
        left, right = getattr(self.a.scores, metric), getattr(self.b.scores, metric)
        return None if left is None or right is None else float(right - left)


@dataclass(frozen=True, slots=True)
class MetricComparison:
    """One metric on both sides, and which side is better beyond chance and by what matters."""

    metric: str
    mean_a: Interval
    mean_b: Interval
    difference: Interval
    p_value: float
    adjusted_p: float
    winner: Winner


@dataclass(frozen=True, slots=True)
class Comparison:
    """Everything two sides have in common."""

    label_a: str
    label_b: str
    sim_model: str
    pairs: tuple[ClipPair, ...]
    metrics: Mapping[str, MetricComparison]
    only_a: int
    only_b: int
    thresholds: Thresholds

    @property
    def too_few(self) -> bool:
        """Whether so few clips were paired that no difference at all could be told from chance."""
        judged = sum(_is_judged(name, self.thresholds) for name in self.metrics)
        return 2.0 ** (1 - len(self.pairs)) * judged > self.thresholds.false_alarms

    @property
    def winners(self) -> tuple[tuple[str, Winner], ...]:
        """Metrics where one side is better, with that side."""
        return tuple(
            (name, result.winner)
            for name, result in self.metrics.items()
            if result.winner != "neither"
        )


def compare(a: AuditFindings, b: AuditFindings, thresholds: Thresholds | None = None) -> Comparison:
    """Pair the clips both sides have by shard and key, and test every metric's difference."""
    thresholds = thresholds or Thresholds()
    if a.sim_model != b.sim_model:
        raise UsageError(
            f"SIM of `{a.output}` is from `{a.sim_model}`, of `{b.output}` from `{b.sim_model}`; "
            "scores of different models are never compared. Measure both with one `--sim-model`"
        )
    left = {(clip.shard, clip.key): clip for clip in a.clips}
    right = {(clip.shard, clip.key): clip for clip in b.clips}
    pairs = tuple(ClipPair(left[place], right[place]) for place in left if place in right)
    return Comparison(
        label_a=a.output,
        label_b=b.output,
        sim_model=a.sim_model,
        pairs=pairs,
        metrics=_compared(pairs, thresholds),
        only_a=len(left) - len(pairs),
        only_b=len(right) - len(pairs),
        thresholds=thresholds,
    )


def paired_values(pairs: Sequence[ClipPair], metric: str) -> tuple[Values, Values]:
    """One metric of A and of B over the clips where both have it."""
    have = [pair for pair in pairs if pair.difference(metric) is not None]
    left = np.array([getattr(pair.a.scores, metric) for pair in have], dtype=np.float64)
    right = np.array([getattr(pair.b.scores, metric) for pair in have], dtype=np.float64)
    return left, right


def _compared(pairs: Sequence[ClipPair], thresholds: Thresholds) -> dict[str, MetricComparison]:
    found = {}
    for metric in METRICS:
        left, right = paired_values(pairs, metric.name)
        if len(left):
            found[metric.name] = (left, right, paired_test(right - left))
    judged = [name for name in found if _is_judged(name, thresholds)]
    adjusted = holm(np.array([found[name][2] for name in judged]))
    corrections = dict(zip(judged, adjusted, strict=True))
    compared = {}
    for name, (left, right, p_value) in found.items():
        corrected = corrections.get(name, 1.0)
        compared[name] = MetricComparison(
            metric=name,
            mean_a=mean_interval(left),
            mean_b=mean_interval(right),
            difference=mean_interval(right - left),
            p_value=p_value,
            adjusted_p=float(corrected),
            winner=_winner(name, left, right, float(corrected), thresholds),
        )
    return compared


def _is_judged(metric: str, thresholds: Thresholds) -> bool:
    return _BETTER[metric] != "neutral" and thresholds.minimum_effect(metric) is not None


def _winner(
    metric: str, left: Values, right: Values, adjusted_p: float, thresholds: Thresholds
) -> Winner:
    minimum = thresholds.minimum_effect(metric)
    better = _BETTER[metric]
    if minimum is None or better == "neutral" or adjusted_p > thresholds.false_alarms:
        return "neither"
    # Of a metric that is best at zero, the side nearer to zero is better.
    gain = {
        "higher": float((right - left).mean()),
        "lower": float((left - right).mean()),
        "zero": float((np.abs(left) - np.abs(right)).mean()),
    }[better]
    # On the same clips a third of what matters between shards is already plain.
    if abs(gain) < minimum / 3:
        return "neither"
    return "B" if gain > 0 else "A"
