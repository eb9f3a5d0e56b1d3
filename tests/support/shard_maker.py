"""Small real shards for tests: audio in any format, members in any order; and what a tar holds."""

import io
import json
import tarfile
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

Member = tuple[str, bytes]


@lru_cache(maxsize=256)
def speech(seconds: float = 1.0, rate: int = 24000, channels: int = 1, seed: int = 0) -> Any:
    """Something that moves like speech: a few harmonics under a slow envelope."""
    rng = np.random.default_rng(seed)
    time = np.arange(round(seconds * rate)) / rate
    pitch = 100 + 80 * rng.random()
    wave = sum(np.sin(2 * np.pi * pitch * n * time) / n for n in range(1, 6))
    wave = 0.2 * wave * (0.6 + 0.4 * np.sin(2 * np.pi * 3 * time + rng.random()))
    wave = wave + 0.005 * rng.standard_normal(len(time))
    samples: NDArray[np.float32] = np.repeat(wave[:, None], channels, 1).astype(np.float32)
    return samples


@lru_cache(maxsize=256)
def audio(
    seconds: float = 1.0,
    *,
    kind: str = "mp3",
    rate: int = 24000,
    channels: int = 1,
    seed: int = 0,
    subtype: str | None = None,
) -> bytes:
    """The bytes of an audio file."""
    buffer = io.BytesIO()
    container, codec = {"mp3": ("MP3", None), "opus": ("OGG", "OPUS")}.get(
        kind, (kind.upper(), None)
    )
    samples = speech(seconds, rate, channels, seed)
    soundfile.write(buffer, samples, rate, format=container, subtype=subtype or codec)
    return buffer.getvalue()


def float_wav(samples: NDArray[np.float32], rate: int = 24000) -> bytes:
    """A WAV of floats exactly as given, NaN included."""
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format="WAV", subtype="FLOAT")
    return buffer.getvalue()


def emilia_json(key: str, **fields: Any) -> bytes:
    """A JSON member in Emilia's shape."""
    content: dict[str, Any] = {
        "id": key,
        "wav": f"{key}.mp3",
        "text": f" Text of {key}.",
        "duration": 1.0,
        "speaker": "S0",
        "language": "en",
        "dnsmos": 3.3,
    }
    return json.dumps(content | fields).encode()


def pair(key: str, seconds: float = 1.0, seed: int = 0, **fields: Any) -> list[Member]:
    """JSON and MP3 of one clip."""
    return [
        (f"{key}.json", emilia_json(key, **fields)),
        (f"{key}.mp3", audio(seconds, seed=seed)),
    ]


def pairs(count: int, seconds: float = 1.0, prefix: str = "clip") -> list[Member]:
    """Several clips."""
    return [m for n in range(count) for m in pair(f"{prefix}{n:04d}", seconds, seed=n % 8)]


def tar_bytes(members: Iterable[Member], *, form: int = tarfile.USTAR_FORMAT) -> bytes:
    """A whole tar."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as tar:
        for name, payload in members:
            info = tarfile.TarInfo(name)
            info.size = len(payload)
            tar.addfile(info, io.BytesIO(payload))
    return buffer.getvalue()


def write_shard(path: Path, content: bytes | Iterable[Member]) -> Path:
    """A shard on disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else tar_bytes(content))
    return path


def read_members(shard: Path, suffix: str = "") -> dict[str, bytes]:
    """The members of a shard by name, in their order; only those whose name ends in `suffix`."""
    with tarfile.open(shard) as tar:
        files = {info.name: tar.extractfile(info) for info in tar if info.name.endswith(suffix)}
        return {name: file.read() for name, file in files.items() if file is not None}


def member_offsets(content: bytes) -> Mapping[str, tuple[int, int]]:
    """Header and payload offsets of every member of a whole tar."""
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        return {info.name: (info.offset, info.offset_data) for info in tar}
