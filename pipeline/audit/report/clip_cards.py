"""The clips on a page: which are worth listening to and why, their cards, sounds and spectrograms.

Sounds are read and decoded again, as MP3 and PNG in data addresses.
"""

import base64
import io
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import soundfile
from numpy.typing import NDArray

from pipeline.audit.audit import AuditedRun
from pipeline.audit.codes.part_file import PartFile
from pipeline.audit.findings import METRICS, ClipAudio, ClipFinding, Scores
from pipeline.audit.judge.faults import flip_rate
from pipeline.audit.judge.judgement import Judgement
from pipeline.audit.metrics.scores import RATE_HZ
from pipeline.audit.report.wording import number
from pipeline.audit.sample.originals import OriginalReader, SourceMap
from pipeline.audit.sample.sampling import sampled_clips
from pipeline.corpus.rules import ReadRules
from pipeline.errors import PipelineError
from pipeline.storage.client import Storage
from xy_codec.audio import resample
from xy_codec.contract import Codec
from xy_codec.errors import XYCodecError

# A worst clip says what it has to say in this time, and the page stays small enough for mail.
_MAX_SECONDS = 15.0
_WINDOW_SECONDS = 0.032
_ROWS, _COLUMNS = 96, 360
_RANGE_DB = 70.0
# Control points of the colour scale from silence to loud; lightness rises evenly.
_SCALE = np.array(
    [(10, 10, 26), (52, 26, 92), (128, 42, 108), (204, 70, 78), (246, 140, 56), (252, 236, 160)]
)
# Rates an MP3 stream may have; the players need no other.
_MP3_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
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
class Playback:
    """Call it with a finding; None where a side cannot be read any more."""

    run: AuditedRun
    codec: Codec
    storage: Storage
    source_map: SourceMap

    def __call__(self, finding: ClipFinding) -> ClipAudio | None:
        """Original and decoded stored codes of one clip at 16 kHz."""
        manifests = (each for each in self.run.manifests if each.shard == finding.shard)
        manifest = next(manifests, None)
        if manifest is None:
            return None
        try:
            part = PartFile.read(self.storage, self.run.output, manifest)
            table = part.columns_without_codes()
            url = self.source_map.locate(manifest.url)
            (clip,) = sampled_clips(table, part.codes_of([finding.row]), manifest, url)
            rules = ReadRules.of_reading(self.run.identity)
            where = (self.storage, self.run.output, manifest, url)
            original = OriginalReader.of_shard(*where, rules, RATE_HZ)(clip)
            (decoded,) = self.codec.decode_encoded([clip.encoded], keys=[clip.key])
        except (PipelineError, XYCodecError, ValueError):
            return None
        if original.waveform is None:
            return None
        heard = resample(decoded, self.codec.shape.output_rate_hz, RATE_HZ)
        return ClipAudio(original.waveform, heard, RATE_HZ)


@dataclass(frozen=True, slots=True)
class Side:
    """One sound of a clip, with what it is."""

    label: str
    waveform: NDArray[np.float32]
    rate_hz: int


@dataclass(frozen=True, slots=True)
class Player:
    """A sound and its picture as data addresses, with what it is."""

    label: str
    sound: str
    picture: str


def players(sides: Sequence[Side]) -> tuple[Player, ...]:
    """The players of a clip's sides; their pictures have one scale."""
    loudest_db = max((_loudest_level(each.waveform, each.rate_hz) for each in sides), default=0.0)
    return tuple(
        Player(
            side.label,
            _audio_address(side.waveform, side.rate_hz),
            _spectrogram_address(side.waveform, side.rate_hz, loudest_db),
        )
        for side in sides
    )


def _audio_address(waveform: NDArray[np.float32], rate_hz: int) -> str:
    """The first seconds of a mono waveform as a data address every browser plays."""
    cut = np.clip(waveform[: int(_MAX_SECONDS * rate_hz)], -1.0, 1.0)
    file = io.BytesIO()
    if rate_hz in _MP3_RATES:
        soundfile.write(file, cut, rate_hz, format="MP3", subtype="MPEG_LAYER_III")
        return _address("audio/mpeg", file.getvalue())
    soundfile.write(file, cut, rate_hz, format="WAV", subtype="PCM_16")
    return _address("audio/wav", file.getvalue())


def _spectrogram_address(waveform: NDArray[np.float32], rate_hz: int, loudest_db: float) -> str:
    """A picture of the sound, low to high upwards, as a data address.

    Args:
        loudest_db: the level drawn brightest; give both sides of a pair the same.
    """
    levels = _levels(waveform[: int(_MAX_SECONDS * rate_hz)], rate_hz)
    scaled = np.clip((levels - loudest_db + _RANGE_DB) / _RANGE_DB, 0, 1)
    return _address("image/png", _png((scaled * 255).astype(np.uint8)))


def _loudest_level(waveform: NDArray[np.float32], rate_hz: int) -> float:
    """The level of the loudest spot of a spectrogram, in dB."""
    return float(_levels(waveform[: int(_MAX_SECONDS * rate_hz)], rate_hz).max())


def _levels(waveform: NDArray[np.float32], rate_hz: int) -> NDArray[np.float32]:
    window = int(_WINDOW_SECONDS * rate_hz) // 2 * 2
    padded = np.pad(waveform, (0, max(0, window - len(waveform))))
    starts = np.linspace(0, len(padded) - window, min(_COLUMNS, max(2, len(padded) * 4 // window)))
    frames = np.stack([padded[int(start) : int(start) + window] for start in starts])
    power = np.abs(np.fft.rfft(frames * np.hanning(window), axis=1)) ** 2
    # Rows follow the ear: even steps up to 1 kHz, growing ones above.
    top = power.shape[1] - 1
    curve = np.expm1(np.linspace(0, np.log1p(8.0), _ROWS + 1)) / 8.0
    edges = np.unique(np.round(curve * top).astype(int))
    bands = np.stack([power[:, a:b].mean(axis=1) for a, b in pairwise(edges)])
    return np.asarray(10 * np.log10(bands[::-1] + 1e-10), dtype=np.float32)


def _png(pixels: NDArray[np.uint8]) -> bytes:
    height, width = pixels.shape
    steps = np.linspace(0, len(_SCALE) - 1, 256)
    palette = np.stack(
        [np.interp(steps, np.arange(len(_SCALE)), _SCALE[:, c]) for c in range(3)], axis=1
    )
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)
    header = struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + _chunk(b"IHDR", header)
        + _chunk(b"PLTE", palette.astype(np.uint8).tobytes())
        + _chunk(b"IDAT", zlib.compress(rows, 9))
        + _chunk(b"IEND", b"")
    )


def _chunk(kind: bytes, content: bytes) -> bytes:
    checksum = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)


def _address(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


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
