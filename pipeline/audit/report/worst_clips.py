"""The clips worth listening to: which they are, why, and their players side by side."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
from numpy.typing import NDArray

from pipeline.audit.findings import METRICS, ClipFinding, Scores
from pipeline.audit.judge.causes import flip_rate
from pipeline.audit.judge.judgement import Judgement
from pipeline.audit.report.plots import number
from pipeline.audit.report.sounds import audio_address, loudest_level, spectrogram_address

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
class Side:
    """One sound of a clip, with what it is."""

    label: str
    waveform: NDArray[np.float32]
    rate_hz: int


@dataclass(frozen=True, slots=True)
class Listening:
    """One clip to listen to and why it was picked."""

    clip: ClipFinding
    why: str


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
    for position in sorted(range(len(clips)), key=lambda place: -scores[place]):
        if len(picked) >= count:
            break
        picked.setdefault(position, "among the worst sounding of the sample")
    return tuple(Listening(clips[position], why) for position, why in picked.items())


def _drift_of(clip: ClipFinding) -> float:
    return flip_rate(clip.drift) if clip.drift else 0.0


def clip_card(listening: Listening, sides: Sequence[Side], facts: str) -> str:
    """One clip with its text, sounds and figures (HTML); what the corpus says is escaped."""
    clip = listening.clip
    text = f'<p class="text">“{escape(clip.text.strip())}”</p>' if clip.text else ""
    for side, heard in (
        ("original", clip.heard_original),
        ("reconstruction", clip.heard_reconstruction),
    ):
        if heard is not None:
            text += f'<p class="soft">heard in the {side}: “{escape(heard)}”</p>'
    about = [clip.shard, clip.language, clip.speaker, f"{clip.duration:.1f} s"]
    where = " · ".join(escape(part) for part in about if part)
    players = "".join(_player(side, clip, _loudest(sides)) for side in sides)
    if not players:
        players = '<p class="soft">Its audio could not be read again for this page.</p>'
    return (
        f'<article class="clip"><h3><code>{escape(clip.key)}</code></h3>'
        f'<p class="where">{where} — {escape(listening.why)}</p>{text}'
        f'<div class="sides">{players}</div><p class="facts">{facts}</p></article>'
    )


def _loudest(sides: Sequence[Side]) -> float:
    return max(loudest_level(side.waveform, side.rate_hz) for side in sides)


def _player(side: Side, clip: ClipFinding, loudest_db: float) -> str:
    label = escape(f"{side.label} of {clip.key}", quote=True)
    picture = spectrogram_address(side.waveform, side.rate_hz, loudest_db)
    sound = audio_address(side.waveform, side.rate_hz)
    return (
        f'<figure class="side"><figcaption>{escape(side.label)}</figcaption>'
        f'<img alt="Spectrogram, {label}" src="{picture}">'
        f'<audio controls preload="metadata" aria-label="{label}" src="{sound}"></audio></figure>'
    )


def score_facts(clip: ClipFinding) -> str:
    """The main figures of a clip in one line."""
    parts = scores_line(clip.scores)
    if clip.drift is not None:
        rate = 100 * flip_rate(clip.drift)
        parts.append(f"codes differing <b>{rate:.3g} %</b>" if rate else "codes <b>equal</b>")
    return "".join(f"<span>{part}</span>" for part in parts)


def scores_line(scores: Scores) -> list[str]:
    """The main metrics that are there, as HTML."""
    parts = []
    for name in _SHOWN_METRICS:
        value = getattr(scores, name)
        if value is not None:
            metric = _LABELS[name]
            unit = f" {metric.unit}" if metric.unit else ""
            parts.append(f"{escape(metric.label)} <b>{number(value)}{unit}</b>")
    return parts
