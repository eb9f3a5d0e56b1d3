"""Audits of simulated shards: findings resampled from real, clean ones.

`clean_metrics.csv` holds 119 clips of seven packages; `speech_scores.csv` whole shards of real
readers (`tests/benchmarks/clean_speech.py`), which are drawn as clusters.
"""

import csv
from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields, replace
from functools import cache
from math import log
from typing import Any, Literal

import numpy as np

from pipeline.audit.codes.token_report import TokenReport
from pipeline.audit.findings import (
    METRIC_NAMES,
    METRICS,
    NO_DIFFERENCE,
    AuditFindings,
    ClipFinding,
    Drift,
    Scores,
)
from pipeline.audit.judge.reference import by_shard, spoken
from pipeline.audit.judge.thresholds import MINIMUM_EFFECTS
from pipeline.audit.sample.sampling import SampledClip
from tests.support.places import GOLDEN
from xy_codec.contract import Encoded

POOLS = GOLDEN / "audit"
NUM_CODEBOOKS, CODEBOOK_SIZE = 8, 1024
Centre = Literal["mean", "middle"]


@cache
def read_scores(name: str) -> tuple[Scores, ...]:
    """Scores of real clips through a real codec, in the order they were measured."""
    names = {item.name for item in fields(Scores)}
    with (POOLS / name).open(newline="") as file:
        return tuple(
            Scores(**{name: float(row[name]) if row.get(name) else None for name in names})
            for row in csv.DictReader(file)
        )


def pool() -> tuple[Scores, ...]:
    """Scores of a clean run."""
    return read_scores("clean_metrics.csv")


def equal_codes(frames: int) -> Drift:
    """The drift of a clip whose stored codes are the fresh ones."""
    return Drift(
        stored_frames=frames,
        fresh_frames=frames,
        differing_codes=(0,) * NUM_CODEBOOKS,
        differing_frames=0,
        one_bit_flips=0,
        constant_codebooks=(),
        best_shift_frames=0,
        agreement_at_shift=1.0,
        paired=NO_DIFFERENCE,
    )


def clip(shard: str, number: int, scores: Scores, drift: Drift | None = None) -> ClipFinding:
    """One sampled clip with these scores."""
    return ClipFinding(
        shard=shard,
        key=f"{shard}-{number:06d}",
        row=number,
        corpus="Emilia",
        language="en",
        speaker=None,
        source_dnsmos=3.2,
        text="a sentence",
        duration=8.0,
        num_frames=100,
        tar_offset=0,
        tar_size=1,
        drawn=True,
        weight=1.0,
        sim_model="test",
        scores=scores,
        drift=drift or equal_codes(100),
    )


def sampled_clip(**facts: Any) -> SampledClip:
    """A row that an audit has drawn; `facts` replace what is made up."""
    made_up: dict[str, Any] = {
        "shard": "a.tar",
        "url": "a.tar",
        "row": 0,
        "key": "k",
        "encoded": Encoded(np.zeros((NUM_CODEBOOKS, 1), np.int16)),
        "corpus": None,
        "language": None,
        "speaker": None,
        "source_dnsmos": None,
        "text": None,
        "duration": 1.0,
        "num_frames": 1,
        "tar_offset": 0,
        "tar_size": 1,
        "drawn": True,
        "weight": 1.0,
        "audio_xxh64": 0,
    }
    return SampledClip(**made_up | facts)


def clean_shard(
    shard: str, scores: Sequence[Scores], rng: np.random.Generator, num_clips: int = 20
) -> list[ClipFinding]:
    """A shard of clips drawn from the pool."""
    picks = rng.integers(0, len(scores), num_clips)
    return [clip(shard, number, scores[pick]) for number, pick in enumerate(picks)]


@cache
def _columns() -> tuple[tuple[str, ...], np.ndarray]:
    """The metrics that every clip of the pool has, and their values, `[clips, metrics]`."""
    names = [each.name for each in fields(Scores)]
    have = [name for name in names if all(getattr(each, name) is not None for each in pool())]
    values = [[getattr(each, name) for name in have] for each in pool()]
    return tuple(have), np.array(values, dtype=np.float64)


# The direction in which a metric is worse; those best at zero leave it upwards.
_WORSE = {metric.name: -1.0 if metric.better == "higher" else 1.0 for metric in METRICS}
_WORSE |= {metric.name: 0.0 for metric in METRICS if metric.better == "neutral"}
_WORSE["dnsmos_original"] = -1.0


def clustered_scores(
    num_clips: int,
    icc: float,
    rng: np.random.Generator,
    shift: float = 0.0,
    *,
    moved: Collection[str] | None = None,
    lopsided: bool = False,
) -> list[Scores]:
    """Scores of one shard whose clips resemble each other: `icc` of all variance is the shard's.

    What a shard has of its own is drawn as normal, with the variances and correlations that clips
    of the pool have; `lopsided` takes that of one clip, as skewed as clips are. `shift` moves the
    shard to where it is worse, in standard deviations of the mean of a shard of so many clips, in
    every metric or in those `moved`.
    """
    names, values = _columns()
    centre = values.mean(axis=0)
    scaled = values - centre
    # A weighted sum of all clips has their covariance.
    own = rng.normal(size=len(scaled)) @ scaled / np.sqrt(len(scaled))
    if lopsided:
        own = scaled[rng.integers(0, len(scaled))]
    drawn = scaled[rng.integers(0, len(scaled), num_clips)]
    clips = centre + np.sqrt(1 - icc) * drawn + np.sqrt(icc) * own
    if shift:
        deviation = values.std(axis=0) * np.sqrt(icc + (1 - icc) / num_clips)
        worse = [_WORSE[name] if moved is None or name in moved else 0.0 for name in names]
        clips = clips + shift * deviation * np.array(worse)
    return [Scores(**dict(zip(names, map(float, row), strict=True))) for row in clips]


@dataclass(frozen=True, slots=True)
class RealShards:
    """What clean shards of real readers have in common and of their own.

    Attributes:
        names: the metrics that every clip has and that judge.
        own: of each shard, how far its mean lies from the others', in their deviations.
        apart: of each shard, how far its clips lie from its mean, in deviations of all clips.
    """

    names: tuple[str, ...]
    centre: np.ndarray
    deviation: np.ndarray
    own: np.ndarray
    apart: tuple[np.ndarray, ...]


@cache
def real_shards() -> RealShards:
    """The shards of `speech_scores.csv`, without silent clips, which no audit judges."""
    clips = spoken(speech_clips())
    judge = {*MINIMUM_EFFECTS, "pesq_nb", "voicing_agreement"}
    have = [
        name
        for name in METRIC_NAMES
        if name in judge and all(getattr(c.scores, name) is not None for c in clips)
    ]
    shards = by_shard(clips).values()
    values = [np.array([[_drawn_as(n, c.scores) for n in have] for c in each]) for each in shards]
    moving = np.concatenate(values).std(axis=0) > 0
    values = [each[:, moving] for each in values]
    means = np.stack([each.mean(axis=0) for each in values])
    within = np.sqrt(np.mean([each.var(axis=0) for each in values], axis=0))
    return RealShards(
        tuple(np.array(have)[moving]),
        means.mean(axis=0),
        np.concatenate(values).std(axis=0),
        (means - means.mean(axis=0)) / means.std(axis=0),
        tuple((each - each.mean(axis=0)) / within for each in values),
    )


def _drawn_as(name: str, scores: Scores) -> float:
    """A metric as it is drawn: F0 errors by factors, because many sums of parts are below 0."""
    value = float(getattr(scores, name))
    return log(value) if name == "f0_error_cents" else value


@cache
def speech_clips() -> tuple[ClipFinding, ...]:
    """The sampled clips of `speech_scores.csv`, with shard, language and speaker."""
    with (POOLS / "speech_scores.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    return tuple(
        replace(
            clip(
                row["shard"],
                number,
                Scores(**{n: float(row[n]) if row[n] else None for n in METRIC_NAMES}),
            ),
            language=row["language"],
            speaker=row["speaker"],
        )
        for number, row in enumerate(rows)
    )


def real_scores(
    num_clips: int,
    icc: float,
    rng: np.random.Generator,
    shift: float = 0.0,
    *,
    moved: Collection[str] | None = None,
    voices: Sequence[int] | None = None,
    about: Centre | None = None,
) -> list[Scores]:
    """Scores of one shard, as `clustered_scores`, out of whole real shards.

    What the shard has of its own is that of one real shard, and its clips lie apart as those of
    another do, so both have the tails that they have; with an `icc` of 0 nothing is the shard's,
    and each clip is of any shard. `about` asks for shards that scatter as real ones about equal
    means, or about equal means of all clips but the lowest and the highest. `voices` names the
    speaker of each clip; then it is each speaker that has something of its own.
    """
    real = real_shards()
    speakers = np.zeros(num_clips, np.int64) if voices is None else np.asarray(voices)
    own = real.own[rng.integers(0, len(real.own), speakers.max() + 1)][speakers]
    clips_of = rng.integers(0, len(real.apart))
    apart = real.apart[clips_of] if icc > 0 or about else np.concatenate(real.apart)
    if about == "middle":
        apart = apart - np.sort(apart, axis=0)[1:-1].mean(axis=0)
    apart = apart[rng.integers(0, len(apart), num_clips)]
    moves = np.zeros(len(real.names))
    if shift:
        worse = [_WORSE[n] if moved is None or n in moved else 0.0 for n in real.names]
        moves = shift * np.sqrt(icc + (1 - icc) / num_clips) * np.array(worse)
    clips = np.sqrt(icc) * own + np.sqrt(1 - icc) * apart + moves
    clips = real.centre + real.deviation * clips
    place = real.names.index("f0_error_cents")
    clips[:, place] = np.exp(clips[:, place])
    return [Scores(**dict(zip(real.names, row, strict=True))) for row in clips.tolist()]


def real_run(
    num_shards: int, icc: float, rng: np.random.Generator, *, about: Centre | None = None
) -> list[ClipFinding]:
    """The clips of a clean run out of whole real shards."""
    return [
        clip(f"shard-{number:05d}", row, scores)
        for number in range(num_shards)
        for row, scores in enumerate(real_scores(20, icc, rng, about=about))
    ]


def run_of_speakers(
    num_shards: int, icc: float, rng: np.random.Generator, of: Sequence[int] = (1, 2, 5, 20)
) -> list[ClipFinding]:
    """A clean run in which a shard has anything from one speaker to one for every clip."""
    found = []
    for number in range(num_shards):
        voices = np.sort(rng.integers(0, rng.choice(of), 20))
        for row, scores in enumerate(real_scores(20, icc, rng, voices=voices.tolist())):
            each = clip(f"shard-{number:05d}", row, scores)
            found.append(replace(each, speaker=f"speaker {voices[row]}"))
    return found


def clustered_run(
    num_shards: int,
    icc: float,
    rng: np.random.Generator,
    num_clips: int = 20,
    *,
    lopsided: bool = False,
) -> list[ClipFinding]:
    """The clips of a clean run, those of a shard alike."""
    return [
        clip(f"shard-{number:05d}", row, scores)
        for number in range(num_shards)
        for row, scores in enumerate(clustered_scores(num_clips, icc, rng, lopsided=lopsided))
    ]


def clean_tokens(shard: str, rows: int = 1000) -> TokenReport:
    """The report of a shard without fault."""
    return TokenReport(
        shard=shard,
        rows=rows,
        frames=rows * 100,
        manifest_rows=rows,
        rejects=0,
        members_seen=rows,
        bad_shape_rows=0,
        bad_length_rows=0,
        out_of_range_rows=0,
        stuck_rows=0,
        repeated_frames=0,
        duplicate_key_rows=0,
        duplicate_audio_rows=0,
        duplicate_code_rows=0,
        codebook_sizes=(CODEBOOK_SIZE,) * NUM_CODEBOOKS,
        class_steps=np.ones((64, 64), np.int64),
        counts=np.full((NUM_CODEBOOKS, CODEBOOK_SIZE), rows * 100 // CODEBOOK_SIZE + 1),
    )


def audit_of(
    clips: Sequence[ClipFinding], tokens: Sequence[TokenReport] = (), same_platform: bool = True
) -> AuditFindings:
    """Findings as an audit hands them to judging."""
    return AuditFindings(
        output="s3://bucket/out",
        seed=0,
        sim_model="test",
        codec={"name": "test", "checkpoint_sha256": "00"},
        reencoded_with={},
        same_platform=same_platform,
        expected_flip_rate=None,
        clips=tuple(clips),
        tokens=tuple(tokens),
    )


def with_drift(finding: ClipFinding, **changes: Any) -> ClipFinding:
    """The same clip with other facts in its drift."""
    drift = finding.drift or equal_codes(finding.num_frames)
    return replace(finding, drift=replace(drift, **changes))
