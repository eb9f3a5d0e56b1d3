"""Audits of simulated shards: findings resampled clip by clip from a real, clean run."""

import csv
from collections.abc import Collection, Sequence
from dataclasses import fields, replace
from functools import cache
from typing import Any

import numpy as np

from pipeline.audit.findings import (
    METRICS,
    NO_DIFFERENCE,
    AuditFindings,
    ClipFinding,
    Drift,
    Scores,
    TokenReport,
)
from pipeline.audit.sample.sampling import SampledClip
from tests.support.places import GOLDEN
from xy_codec.contract import Encoded

POOLS = GOLDEN / "audit"
NUM_CODEBOOKS, CODEBOOK_SIZE = 8, 1024


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
