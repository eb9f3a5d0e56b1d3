"""Shards of real speech with planted faults: real codes, the audit's own comparison and naming."""

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import soundfile

from pipeline.audit.codes.reencode import compare_codes, explained
from pipeline.audit.codes.token_report import TokenReport
from pipeline.audit.findings import ClipFinding, Scores
from pipeline.audit.judge.baseline import Baseline, make_baseline
from pipeline.audit.judge.judgement import ShardVerdict
from pipeline.audit.judge.verdict import judge
from pipeline.audit.sample.originals import Original
from tests.support import places
from tests.support.audit_simulation import (
    audit_of,
    clean_shard,
    clean_tokens,
    clip,
    pool,
    sampled_clip,
)
from tests.support.shard_maker import read_members
from xy_codec.audio import mono, resample
from xy_codec.contract import Codec, Codes, Encoded, Waveform
from xy_codec.fake import FakeCodec

PLANTED = "Emilia/EN/EN-B000007.tar"
CLEAN = "Emilia/EN/EN-B000008.tar"
TRIED = 4
SPEECH = places.SPEECH / "Emilia" / "EN"


@dataclass(frozen=True)
class Row:
    """One row of a shard: its audio, and the codes that are stored for it."""

    payload: bytes
    native: Waveform
    native_hz: int
    codes: Codes
    same_audio: bool = True

    @property
    def waveform(self) -> Waveform:
        return resample(self.native, self.native_hz, 16000)


@cache
def recordings() -> tuple[tuple[Waveform, int], ...]:
    found = []
    for path in sorted(SPEECH.glob("*.tar")):
        for payload in read_members(path, ".mp3").values():
            samples, rate = soundfile.read(io.BytesIO(payload), dtype="float32")
            found.append((mono(samples), rate))
    return tuple(found)


def as_wav(samples: Waveform, rate: int) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format="WAV", subtype="FLOAT")
    return file.getvalue()


@cache
def clean_rows(count: int = 80, codec: Codec | None = None) -> tuple[Row, ...]:
    """Crops of two to five seconds of real speech with the codes they give."""
    rng = np.random.default_rng(11)
    rows = []
    for number in range(count):
        samples, rate = recordings()[number % len(recordings())]
        length = min(int(rng.uniform(2, 5) * rate), len(samples))
        start = int(rng.integers(0, len(samples) - length + 1))
        crop = samples[start : start + length]
        (codes,) = (codec or FakeCodec()).encode([resample(crop, rate, 16000)])
        rows.append(Row(as_wav(crop, rate), crop, rate, codes))
    return tuple(rows)


Plant = Callable[[Sequence[Row], np.random.Generator], list[Row]]


def each(change: Callable[[Row, np.random.Generator], Codes]) -> Plant:
    """A fault of single rows."""
    return lambda rows, rng: [replace(row, codes=change(row, rng)) for row in rows]


def flip_one_percent(row: Row, rng: np.random.Generator) -> Codes:
    hit = rng.random(row.codes.shape) < 0.01
    bits = (1 << rng.integers(0, 10, row.codes.shape)).astype(np.int16)
    return np.where(hit, row.codes ^ bits, row.codes)


def zero_upper_codebooks(row: Row, rng: np.random.Generator) -> Codes:
    codes = row.codes.copy()
    codes[4:] = 0
    return codes


def shift_one_frame(row: Row, rng: np.random.Generator) -> Codes:
    return np.concatenate([row.codes[:, :1], row.codes[:, :-1]], axis=1)


def encode_with_another_checkpoint(row: Row, rng: np.random.Generator) -> Codes:
    # Another codebook order is to the fake codec what other weights are to a real one.
    order = np.random.default_rng(5).permuted(np.tile(np.arange(1024), (8, 1)), axis=1)
    return np.take_along_axis(order, row.codes.astype(np.int64), axis=1).astype(np.int16)


def resample_linearly(row: Row, rng: np.random.Generator) -> Codes:
    places = np.arange(0, len(row.native), row.native_hz / 16000)
    linear = np.interp(places, np.arange(len(row.native)), row.native).astype(np.float32)
    return FakeCodec().encode([linear])[0]


def gain_three_decibels(row: Row, rng: np.random.Generator) -> Codes:
    return FakeCodec().encode([(row.waveform * 10 ** (3 / 20)).astype(np.float32)])[0]


def swap_five_percent(rows: Sequence[Row], rng: np.random.Generator) -> list[Row]:
    planted = list(rows)
    hit = rng.permutation(len(rows))[: max(2, round(0.05 * len(rows) / 2) * 2)]
    for left, right in hit.reshape(-1, 2):
        planted[left] = replace(rows[left], codes=rows[right].codes)
        planted[right] = replace(rows[right], codes=rows[left].codes)
    return planted


def measured(
    rows: Sequence[Row], num_sampled: int, rng: np.random.Generator, codec: Codec | None = None
) -> list[ClipFinding]:
    """The findings of sampled rows, with the drift as the audit measures it."""
    codec = codec or FakeCodec()
    stored = {number: row.codes for number, row in enumerate(rows)}
    keys = {number: f"clip-{number}" for number in stored}
    tried = 0
    findings = []
    for number in sorted(rng.permutation(len(rows))[:num_sampled]):
        row = rows[number]
        (fresh,) = codec.encode([row.waveform])
        drift = compare_codes(row.codes, fresh, same_audio=row.same_audio, paired=Scores())
        if not drift.equal and tried < TRIED:
            tried += 1
            sampled = sampled_clip(row=int(number), encoded=Encoded(row.codes))
            original = Original(sampled, row.payload, row.waveform, row.same_audio)
            drift = explained(drift, original, fresh, codec, lambda: (stored, keys))
        scores = pool()[int(rng.integers(len(pool())))]
        findings.append(clip(PLANTED, int(number), scores, drift))
    return findings


@cache
def clean_baseline() -> Baseline:
    clips = [clip(f"s{place // 12}", place, scores) for place, scores in enumerate(pool())]
    return make_baseline(audit_of(clips, [clean_tokens("s0")]))


def verdicts(
    planted: Sequence[ClipFinding], rng: np.random.Generator, tokens: TokenReport | None = None
) -> dict[str, ShardVerdict]:
    """The verdicts of the planted shard and of a clean one beside it."""
    clips = [*planted, *clean_shard(CLEAN, pool(), rng)]
    reports = [tokens or clean_tokens(PLANTED), clean_tokens(CLEAN)]
    judged = judge(audit_of(clips, reports), clean_baseline())
    return {shard.shard: shard for shard in judged.shards}
