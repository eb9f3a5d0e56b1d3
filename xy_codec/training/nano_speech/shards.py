"""Shards in Emilia's layout from recordings: trimmed, joined or cut to clips, coded as MP3."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import tarfile
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import soundfile

from xy_codec.audio import mono, resample
from xy_codec.training.nano_speech.sources import SpeechSource, find_recordings

SHARD_HZ = 24_000
_G722_HZ = 16_000
# libsndfile's compression levels; at 24 kHz mono they give about 98, 73, 62 and 48 kbit/s.
MP3_LEVELS = (0.4, 0.55, 0.65, 0.75)
_GAP_SECONDS = 0.15
_SILENCE = 10 ** (-45 / 20)  # of the peak
Wave = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class SpeechClip:
    """A clip before coding: one speaker, one language, 24 kHz mono."""

    wave: Wave
    speaker: str
    language: str
    text: str


def read_recording(path: Path) -> Wave:
    """Decode any recording to 24 kHz mono; G.722 goes through the `ffmpeg` program."""
    if path.suffix == ".g722":
        command = ["ffmpeg", "-v", "error", "-i", str(path), "-f", "wav", "-"]
        data = subprocess.run(command, check=True, capture_output=True).stdout
        # ffmpeg cannot go back to write the length of a piped WAV: read what follows its header.
        start = data.index(b"data") + 8
        samples = np.frombuffer(data[start:], "<i2").astype(np.float32)
        return resample(samples / np.float32(32768), _G722_HZ, SHARD_HZ)
    wave, rate = soundfile.read(path, dtype="float32", always_2d=True)
    return resample(mono(wave), rate, SHARD_HZ)


def trim_silence(wave: Wave) -> Wave:
    """Cut silence off both ends, keeping 50 ms."""
    loud = np.flatnonzero(np.abs(wave) > _SILENCE * np.abs(wave).max(initial=1e-9))
    if loud.size < SHARD_HZ // 20:
        return wave[:0]
    margin = SHARD_HZ // 20
    return wave[max(0, loud[0] - margin) : loud[-1] + margin]


def make_clips(source: SpeechSource, folder: Path, seconds: float) -> Iterator[SpeechClip]:
    """Clips of about `seconds`: a speaker's short recordings are joined, long ones cut."""
    waiting: dict[tuple[str, str], list[tuple[Wave, str]]] = defaultdict(list)
    for speaker, language, path in _shuffle(find_recordings(source, folder)):
        try:
            wave = trim_silence(read_recording(path))
        except (soundfile.LibsndfileError, subprocess.CalledProcessError, ValueError):
            continue  # packages hold files that only look like audio
        note = path.with_suffix(".txt")
        text = note.read_text().strip() if not source.real and note.exists() else ""
        for piece in _pieces(wave, int(1.5 * seconds * SHARD_HZ)):
            parts = waiting[speaker, language]
            parts.append((piece, text))
            # Clips with a text stay single utterances.
            if text or sum(part.size for part, _ in parts) >= seconds * SHARD_HZ:
                yield _join(waiting.pop((speaker, language)), speaker, language)
    for (speaker, language), parts in waiting.items():
        yield _join(parts, speaker, language)


def write_shard(path: Path, prefix: str, clips: Iterable[SpeechClip]) -> float:
    """Write clips as MP3 and JSON pairs, key `PREFIX_W000000` and on; return their hours."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial, seconds = path.with_suffix(".partial"), 0.0
    with tarfile.open(partial, "w", format=tarfile.USTAR_FORMAT) as tar:
        for number, clip in enumerate(clips):
            key = f"{prefix}_W{number:06d}"
            _add(tar, f"{key}.json", json.dumps(_emilia(key, clip), ensure_ascii=False).encode())
            _add(tar, f"{key}.mp3", _mp3(clip.wave, MP3_LEVELS[number % len(MP3_LEVELS)]))
            seconds += clip.wave.size / SHARD_HZ
    partial.rename(path)
    return seconds / 3600


def _shuffle(items: Iterable[tuple[str, str, Path]]) -> list[tuple[str, str, Path]]:
    """Recordings in a random order that is the same on every machine: that of hashed names."""
    return sorted(items, key=lambda item: hashlib.sha1(item[2].name.encode()).digest())


def _pieces(wave: Wave, longest: int) -> Iterator[Wave]:
    count = max(1, -(-wave.size // longest))
    yield from (piece for piece in np.array_split(wave, count) if piece.size)


def _join(parts: list[tuple[Wave, str]], speaker: str, language: str) -> SpeechClip:
    gap = np.zeros(int(_GAP_SECONDS * SHARD_HZ), np.float32)
    waves = [each for wave, _ in parts for each in (wave, gap)][:-1]
    wave = np.concatenate(waves)
    peak = float(np.abs(wave).max(initial=1e-9))
    text = " ".join(text for _, text in parts if text)
    return SpeechClip(wave * min(1.0, 0.95 / peak), speaker, language, text)


def _emilia(key: str, clip: SpeechClip) -> dict[str, Any]:
    return {
        "id": key,
        "wav": f"{key}.mp3",
        "text": clip.text,
        "duration": round(clip.wave.size / SHARD_HZ, 3),
        "speaker": clip.speaker,
        "language": clip.language,
    }


def _mp3(wave: Wave, level: float) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(
        buffer,
        wave,
        SHARD_HZ,
        format="MP3",
        subtype="MPEG_LAYER_III",
        bitrate_mode="CONSTANT",
        compression_level=level,
    )
    return buffer.getvalue()


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    tar.addfile(member, io.BytesIO(data))
