"""Two runs or two checkpoints on the same clips, measured and compared by metrics, B minus A.

Two checkpoints become two small runs first, so that there is one way to measure and to listen.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from pipeline.audit.audit import AuditRequest, Measure, load_codec_of, open_run, run_audit
from pipeline.audit.findings import METRICS, AuditFindings, ClipFinding
from pipeline.audit.judge.inference import (
    MIN_SHARDS,
    Estimate,
    Interval,
    Values,
    clustered_mean,
    holm,
)
from pipeline.audit.judge.thresholds import Thresholds
from pipeline.audit.report.clip_cards import Playback, Side
from pipeline.corpus.rules import ReadRules
from pipeline.errors import InputError, UsageError
from pipeline.fleet.engine import InlineEngine
from pipeline.fleet.run import RunRequest, check_finished, run_tokenize
from pipeline.storage.client import Storage
from pipeline.worker.codec_request import CodecRequest
from pipeline.worker.settings import Tuning

Winner = Literal["A", "B", "equivalent", "unclear", "not judged"]
# On the same clips a third of what matters between shards is already plain.
_MARGIN_SHARE = 1 / 3
# The level of each of the two one-sided tests of equivalence.
_EQUIVALENCE = 0.05
# With more clips than this that only one side has a figure of, those of both do not speak for all.
_MOST_ONE_SIDED = 0.2


@dataclass(frozen=True, slots=True)
class ClipPair:
    """The same clip on both sides."""

    a: ClipFinding
    b: ClipFinding

    def difference(self, metric: str) -> float | None:
        """B minus A; None where either side has no figure."""
        left, right = getattr(self.a.scores, metric), getattr(self.b.scores, metric)
        return None if left is None or right is None else float(right - left)

    def is_one_sided(self, metric: str) -> bool:
        """Whether one side alone has a figure."""
        left, right = getattr(self.a.scores, metric), getattr(self.b.scores, metric)
        return (left is None) != (right is None)


@dataclass(frozen=True, slots=True)
class MetricComparison:
    """One metric on both sides, and which side is better beyond chance and by what matters.

    `gain` is how much better B is, clip by clip: for a metric that is best at zero, how much nearer
    it is. It is what is tested and what is held against `margin`. `difference` is B minus A.
    `one_sided` clips have a figure on one side alone.
    """

    metric: str
    mean_a: Interval
    mean_b: Interval
    difference: Interval
    gain: Interval
    margin: float | None
    p_value: float
    adjusted_p: float
    winner: Winner
    one_sided: int = 0


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
        """Whether fewer clips were paired than a verdict needs."""
        return len(self.pairs) < self.thresholds.min_clips

    @property
    def winners(self) -> tuple[tuple[str, Winner], ...]:
        """Metrics where one side is better, with that side."""
        return tuple(
            (name, result.winner)
            for name, result in self.metrics.items()
            if result.winner in ("A", "B")
        )

    @property
    def unclear(self) -> tuple[str, ...]:
        """Metrics in which neither a difference nor its absence was shown."""
        found = self.metrics.items()
        return tuple(name for name, result in found if result.winner == "unclear")

    @property
    def is_heard(self) -> bool:
        """Whether anything that judges is known of the sound; the length alone says nothing."""
        judged = (name for name, result in self.metrics.items() if result.margin is not None)
        return any(name != "length_difference_seconds" for name in judged)

    @property
    def num_shards(self) -> int:
        """The shards that the pairs are from."""
        return len({pair.a.shard for pair in self.pairs})


def compare(a: AuditFindings, b: AuditFindings, thresholds: Thresholds | None = None) -> Comparison:
    """Pair the clips both sides have by shard and key, and test every metric's difference."""
    thresholds = thresholds or Thresholds()
    if a.sim_model != b.sim_model:
        raise UsageError(
            f"SIM of `{a.output}` is from `{a.sim_model}`, of `{b.output}` from `{b.sim_model}`; "
            "scores of different models are never compared. Measure both with one `--sim-model`"
        )
    # Clips that token checks picked are like no others; chance drew the same of both.
    left = {(clip.shard, clip.key): clip for clip in a.drawn}
    right = {(clip.shard, clip.key): clip for clip in b.drawn}
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
    found: dict[str, MetricComparison] = {}
    gains: dict[str, Estimate] = {}
    for metric in METRICS:
        known = [pair for pair in pairs if pair.difference(metric.name) is not None]
        if not known:
            continue
        left, right = paired_values(known, metric.name)
        sizes = metric.size(left), metric.size(right)
        levels = _clusters(known)
        sign = 1.0 if metric.better == "higher" else -1.0
        gain = gains[metric.name] = clustered_mean(sign * (sizes[1] - sizes[0]), *levels)
        minimum = thresholds.minimum_effect(metric.name)
        judged = minimum is not None and metric.better != "neutral"
        found[metric.name] = MetricComparison(
            metric=metric.name,
            mean_a=clustered_mean(left, *levels).interval,
            mean_b=clustered_mean(right, *levels).interval,
            difference=clustered_mean(right - left, *levels).interval,
            gain=gain.interval,
            margin=minimum * _MARGIN_SHARE if minimum is not None and judged else None,
            p_value=gain.p_value,
            adjusted_p=1.0,
            winner="not judged",
            one_sided=sum(pair.is_one_sided(metric.name) for pair in pairs),
        )
    judged_names = [name for name, result in found.items() if result.margin is not None]
    adjusted = holm(np.array([found[name].p_value for name in judged_names]))
    for name, corrected in zip(judged_names, adjusted, strict=True):
        result = replace(found[name], adjusted_p=float(corrected))
        found[name] = replace(result, winner=_winner(result, gains[name], thresholds))
    return found


def _clusters(pairs: Sequence[ClipPair]) -> list[list[str]]:
    """The clusters of clips by level: shards, and speakers in them where these are known.

    Of one or two shards all is said for those only, whose clips chance drew one by one.
    """
    shards = [pair.a.shard for pair in pairs]
    if len(set(shards)) >= MIN_SHARDS:
        speakers = [f"{pair.a.shard}\n{pair.a.speaker or ''}" for pair in pairs]
        return [shards, speakers]
    return [[f"{pair.a.shard}\n{pair.a.key}" for pair in pairs]]


def _winner(result: MetricComparison, estimate: Estimate, thresholds: Thresholds) -> Winner:
    margin, gain = result.margin or 0.0, result.gain
    num_clips, lost = gain.num_values, result.one_sided
    if num_clips < thresholds.min_clips or lost > _MOST_ONE_SIDED * (num_clips + lost):
        return "unclear"
    if abs(gain.estimate) >= margin and result.adjusted_p <= thresholds.false_alarms:
        return "B" if gain.estimate > 0 else "A"
    if not gain.is_known:
        return "unclear"
    # The interval of two one-sided tests is narrower than the one of 95 %.
    half = estimate.half_width(_EQUIVALENCE)
    return "equivalent" if abs(gain.estimate) + half <= margin else "unclear"


@dataclass(frozen=True, slots=True)
class Measured:
    """A finished comparison and the sounds of its clips."""

    comparison: Comparison
    play_a: Playback
    play_b: Playback

    def sides(self, pair: ClipPair) -> list[Side] | None:
        """Original, A and B of one clip; None where they cannot be read."""
        a, b = self.play_a(pair.a), self.play_b(pair.b)
        if a is None or b is None:
            return None
        return [
            Side("Original", a.original, a.rate_hz),
            Side("A", a.reconstruction, a.rate_hz),
            Side("B", b.reconstruction, b.rate_hz),
        ]


def compare_runs(
    request: AuditRequest,
    outputs: tuple[str, str],
    labels: tuple[str, str],
    codecs: tuple[str | None, str | None],
    measure: Measure | None = None,
) -> Measured:
    """Sample the same clips of two runs, measure both, and compare.

    Args:
        codecs: what decodes either side; None finds the codec by the name in its `run.json`.
    """
    # Codes are compared with the originals only: which codec made them is the question.
    sides = [
        replace(request, output=output, codec=source, reencode=False)
        for output, source in zip(outputs, codecs, strict=True)
    ]
    # Both are opened before either is measured, so that a wrong path is told at once.
    runs = [open_run(side.storage, side.output, side.only) for side in sides]
    findings, players = [], []
    for side, run, label in zip(sides, runs, labels, strict=True):
        codec = load_codec_of(side, run)
        measured = run_audit(side, run, codec, measure)
        findings.append(replace(measured, output=label))
        players.append(Playback(run, codec, side.storage, side.source_map))
    comparison = compare(findings[0], findings[1])
    if not comparison.pairs:
        raise InputError(
            f"`{labels[0]}` and `{labels[1]}` have no sampled clip in common; expected runs over "
            "the same shards. Compare runs of the same input, or raise `--per-shard`"
        )
    return Measured(comparison, players[0], players[1])


def trial_runs(
    codecs: Sequence[CodecRequest], shards: Sequence[str], folder: str, limit: int
) -> tuple[str, ...]:
    """Tokenize the first clips of some shards with every codec; the outputs, in order."""
    outputs = tuple(f"{folder}/{'ab'[number]}" for number in range(len(codecs)))
    for codec, output in zip(codecs, outputs, strict=True):
        trial_run(codec, shards, output, Storage(), limit)
    return outputs


def trial_run(
    codec: CodecRequest, shards: Sequence[str], output: str, storage: Storage, limit: int | None
) -> None:
    """Tokenize the first clips of some shards in this process, or what is left of them."""
    rules = ReadRules(limit=limit)
    request = RunRequest(tuple(shards), output, rules, storage, Tuning(), quiet=True)
    engine = InlineEngine(codec)
    try:
        check_finished(run_tokenize(request, engine), allow_damaged=True)
    finally:
        engine.close()
