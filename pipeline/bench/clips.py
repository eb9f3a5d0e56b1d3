"""Makes clips for benchmarks: Emilia's lengths, sounds that compress like speech, tars of both.

Nothing is downloaded: the sounds are synthetic, so a benchmark runs anywhere.
"""

import io
import json
import math
import random
import tarfile
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

SHORTEST_SECONDS, LONGEST_SECONDS, MEAN_SECONDS = 3.0, 30.0, 9.9
SOURCE_RATE_HZ = 24_000
# Scale of the exponential that, cut off at 27 s and moved by 3 s, has a mean of 9.9 s.
_SCALE_SECONDS = 7.76
# libsndfile's level for 56 kbit/s at 24 kHz: Emilia's 2.3 TiB over 101,000 hours.
_MP3_LEVEL = 0.7
_VOICE_SECONDS = 60


def emilia_lengths(count: int, seed: int = 0) -> list[float]:
    """Lengths of 3 to 30 s with mean 9.9 s: evenly spaced quantiles in random order.

    Quantiles instead of random draws give the right mix even with a few clips.
    """
    span = LONGEST_SECONDS - SHORTEST_SECONDS
    whole = 1.0 - math.exp(-span / _SCALE_SECONDS)
    quantiles = [(index + 0.5) / count for index in range(count)]
    lengths = [SHORTEST_SECONDS - _SCALE_SECONDS * math.log(1 - q * whole) for q in quantiles]
    random.Random(seed).shuffle(lengths)
    return lengths


def speech_like(seconds: float, rate_hz: int, seed: int) -> NDArray[np.float32]:
    """A voice-like sound: harmonics of a gliding pitch, a syllable envelope, breath noise."""
    num_samples = round(seconds * rate_hz)
    voice = _voice(rate_hz)
    start = 7919 * seed % (len(voice) // 2)
    gain = 0.5 + 0.1 * (seed % 6)
    return np.resize(voice[start:], num_samples) * np.float32(gain)


@lru_cache
def _voice(rate_hz: int) -> NDArray[np.float32]:
    random_numbers = np.random.default_rng(rate_hz)
    time = np.arange(_VOICE_SECONDS * rate_hz, dtype=np.float64) / rate_hz
    pitch_phase = 2 * np.pi * 140 * time + 40.0 * np.sin(2 * np.pi * 0.3 * time)
    harmonics = sum(np.sin(k * pitch_phase) / k for k in range(1, 13))
    envelope = np.clip(np.sin(2 * np.pi * 2.1 * time) + 0.4, 0.0, None)
    breath = random_numbers.standard_normal(len(time)) * 0.05
    return np.asarray(0.2 * envelope * (harmonics + breath), dtype=np.float32)


def waveforms(lengths: Sequence[float], rate_hz: int, seed: int = 0) -> list[NDArray[np.float32]]:
    """One waveform for each length."""
    return [speech_like(seconds, rate_hz, seed + i) for i, seconds in enumerate(lengths)]


def mp3_bytes(samples: NDArray[np.float32], rate_hz: int = SOURCE_RATE_HZ) -> bytes:
    """The samples as MP3 at about 56 kbit/s."""
    # Clips without MP3 need numpy alone.
    import soundfile

    file = io.BytesIO()
    soundfile.write(
        file,
        samples,
        rate_hz,
        format="MP3",
        bitrate_mode="CONSTANT",
        compression_level=_MP3_LEVEL,
    )
    return file.getvalue()


def write_shards(
    folder: Path, num_shards: int, clips_per_shard: int, distinct: int = 12
) -> list[Path]:
    """Write tars in Emilia's layout; coding MP3 is slow, so a few clips repeat under many keys."""
    lengths = emilia_lengths(distinct)
    audio = [mp3_bytes(clip) for clip in waveforms(lengths, SOURCE_RATE_HZ)]
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for shard in range(num_shards):
        path = folder / f"EN-B{shard:06d}.tar"
        with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
            for name, content in _members(shard, clips_per_shard, lengths, audio):
                member = tarfile.TarInfo(name)
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
        paths.append(path)
    return paths


def shard_seconds(num_shards: int, clips_per_shard: int, distinct: int = 12) -> float:
    """Seconds of audio in what `write_shards` writes."""
    lengths = emilia_lengths(distinct)
    one = sum(lengths[i % distinct] for i in range(clips_per_shard))
    return num_shards * one


def _members(
    shard: int, count: int, lengths: Sequence[float], audio: Sequence[bytes]
) -> Iterator[tuple[str, bytes]]:
    for index in range(count):
        key = f"EN_B{shard:06d}_S{index // 50:05d}_W{index % 50:06d}"
        which = index % len(audio)
        text = {
            "id": key,
            "wav": f"{key}.mp3",
            "text": " A sentence as long as its clip takes to say.",
            "duration": round(lengths[which], 3),
            "speaker": f"EN_B{shard:06d}_S{index // 50:05d}",
            "language": "en",
            "dnsmos": round(3.0 + (index % 10) / 20, 4),
        }
        yield f"{key}.json", json.dumps(text).encode()
        yield f"{key}.mp3", audio[which]
