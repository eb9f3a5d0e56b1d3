"""The clips worth listening to: which they are, why, and their cards on a page."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.audit.findings import METRICS, ClipFinding, Scores
from pipeline.audit.judge.causes import flip_rate
from pipeline.audit.judge.judgement import Judgement
from pipeline.audit.report.sounds import Player, Side, players
from pipeline.audit.report.wording import number

_SHOWN_METRICS = (
    "sim",
    "stoi",
    "pesq_nb",
    "pesq_wb",
    "log_mel_distance_db",
    "gain_db",
    "cer_increase",
)
# Faults of rows and files, which no ear can tell.
_INAUDIBLE = ("missing rows", "damaged shard", "duplicate clips")
_LABELS = {metric.name: metric for metric in METRICS}


@dataclass(frozen=True, slots=True)
class Listening:
    """One clip to listen to and why it was picked."""

    clip: ClipFinding
    why: str


@dataclass(frozen=True, slots=True)
class Fact:
    """One figure of a clip."""

    label: str
    figure: str


@dataclass(frozen=True, slots=True)
class FactLine:
    """The figures of one side of a clip; `side` is empty where there is only one."""

    figures: tuple[Fact, ...]
    side: str = ""


@dataclass(frozen=True, slots=True)
class ClipCard:
    """One clip as `parts.html.j2` shows it."""

    clip: ClipFinding
    why: str
    players: tuple[Player, ...]
    facts: tuple[FactLine, ...] = ()

    @property
    def where(self) -> tuple[str, ...]:
        """Its shard, language, speaker and length."""
        clip = self.clip
        about = (clip.shard, clip.language, clip.speaker, f"{clip.duration:.1f} s")
        return tuple(part for part in about if part)


def clip_card(
    clip: ClipFinding, why: str, sides: Sequence[Side], facts: Sequence[FactLine] = ()
) -> ClipCard:
    """The card of a clip; without sides it says that there is no sound."""
    return ClipCard(clip, why, players(sides), tuple(facts))


def badness(clips: Sequence[ClipFinding]) -> NDArray[np.float64]:
    """How bad each clip sounds among all: the mean of its ranks over metrics, 0 best to 1 worst."""
    total, known = np.zeros(len(clips)), np.zeros(len(clips))
    for metric in METRICS:
        sign = {"higher": -1.0, "lower": 1.0}.get(metric.better)
        found = [getattr(clip.scores, metric.name) for clip in clips]
        have = np.array([value is not None for value in found])
        if sign is None or have.sum() < 2:
            continue
        values = sign * np.array([value for value in found if value is not None])
        total[have] += np.argsort(np.argsort(values)) / (have.sum() - 1)
        known[have] += 1
    return np.where(known > 0, total / np.maximum(known, 1), 0.0)


def worst_clips(
    clips: Sequence[ClipFinding], judgement: Judgement, count: int
) -> tuple[Listening, ...]:
    """Clips to listen to: up to two of every fault, then those that sound worst."""
    scores = badness(clips)
    order = [int(position) for position in np.argsort(-scores)]
    # Clips whose codes differ come first, the more so the more they differ.
    order.sort(key=lambda position: -_drift_of(clips[position]))
    faults = {shard.shard: shard.faults for shard in judgement.shards if shard.faults}
    picked: dict[int, str] = {}
    taken: dict[str, int] = {}
    for position in order:
        for fault in faults.get(clips[position].shard, ()):
            touched = fault.verdict != "drift" or _drift_of(clips[position]) > 0
            touched = touched and fault.name not in _INAUDIBLE
            if touched and taken.get(fault.name, 0) < 2 and len(picked) < count:
                taken[fault.name] = taken.get(fault.name, 0) + 1
                picked.setdefault(position, f"from a shard with {fault.name}")
    measured = [place for place, clip in enumerate(clips) if clip.scores != Scores()]
    for position in sorted(measured, key=lambda place: -scores[place]):
        if len(picked) >= count:
            break
        picked.setdefault(position, "among the worst sounding of the sample")
    return tuple(Listening(clips[position], why) for position, why in picked.items())


def _drift_of(clip: ClipFinding) -> float:
    return flip_rate(clip.drift) if clip.drift else 0.0


def score_facts(clip: ClipFinding) -> tuple[Fact, ...]:
    """The main figures of a clip, and how many of its codes differ."""
    facts = main_scores(clip.scores)
    if clip.drift is not None:
        rate = 100 * flip_rate(clip.drift)
        facts = (
            *facts,
            Fact("codes differing", f"{rate:.3g} %") if rate else Fact("codes", "equal"),
        )
    return facts


def main_scores(scores: Scores) -> tuple[Fact, ...]:
    """The main metrics that are there."""
    shown = ((_LABELS[name], getattr(scores, name)) for name in _SHOWN_METRICS)
    return tuple(
        Fact(metric.label, f"{number(value)} {metric.unit}".rstrip())
        for metric, value in shown
        if value is not None
    )
