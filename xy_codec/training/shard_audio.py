"""Shards decoded for training: all clips of one as 16-bit samples end to end, cached on disk."""

import hashlib
import io
import json
import os
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import numpy.typing as npt
import soundfile

from xy_codec.audio import mono, resample
from xy_codec.errors import AudioError, ConfigError

_SCALE = 32767.0


@dataclass(frozen=True, slots=True)
class ShardAudio:
    """The clips of one shard; clip i is `samples[bounds[i] : bounds[i + 1]]`."""

    samples: npt.NDArray[np.int16]
    bounds: npt.NDArray[np.int64]
    speakers: tuple[str, ...]
    texts: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.speakers)

    def clip(self, number: int, start: int = 0, size: int | None = None) -> npt.NDArray[np.float32]:
        """Samples of one clip in [-1, 1], from `start` on, at most `size`."""
        begin, end = int(self.bounds[number]) + start, int(self.bounds[number + 1])
        if size is not None:
            end = min(end, begin + size)
        return np.asarray(self.samples[begin:end], np.float32) / _SCALE


def list_shards(pattern: str) -> list[str]:
    """The shards a glob or fsspec URL pattern names, sorted."""
    fs, path = fsspec.core.url_to_fs(pattern)
    found = sorted(fs.unstrip_protocol(each) for each in fs.glob(path))
    if not found:
        raise ConfigError(
            f"No shard matches `{pattern}`; expected WebDataset tars. Check the pattern."
        )
    return found


def load_shard(url: str, rate_hz: int, cache: str = "") -> ShardAudio:
    """Decode a shard, or map what an earlier run decoded into the `cache` folder."""
    if not cache:
        return _decode(url, rate_hz)
    fs, path = fsspec.core.url_to_fs(url)
    stamp = hashlib.sha1(f"{url}|{fs.info(path)['size']}|{rate_hz}".encode()).hexdigest()[:16]
    stem = Path(cache) / f"{Path(path).stem}-{stamp}"
    index = stem.with_suffix(".json")
    if not index.exists():
        _store(_decode(url, rate_hz), stem)
    kept = json.loads(index.read_text(encoding="utf-8"))
    samples = np.load(stem.with_suffix(".npy"), mmap_mode="r")
    bounds = np.asarray(kept["bounds"], np.int64)
    return ShardAudio(samples, bounds, tuple(kept["speakers"]), tuple(kept["texts"]))


def _store(audio: ShardAudio, stem: Path) -> None:
    stem.parent.mkdir(parents=True, exist_ok=True)
    # Two runs may share the cache: each writes its own file and the last rename wins.
    partial = stem.with_suffix(f".{os.getpid()}.npy")
    np.save(partial, audio.samples)
    partial.replace(stem.with_suffix(".npy"))
    index = {
        "bounds": audio.bounds.tolist(),
        "speakers": list(audio.speakers),
        "texts": list(audio.texts),
    }
    written = stem.with_suffix(f".{os.getpid()}.partial")
    written.write_text(json.dumps(index), encoding="utf-8")
    written.replace(stem.with_suffix(".json"))


def _decode(url: str, rate_hz: int) -> ShardAudio:
    waves: list[npt.NDArray[np.int16]] = []
    speakers, texts = [], []
    for key, audio, notes in _pairs(url):
        try:
            samples, from_hz = soundfile.read(io.BytesIO(audio), dtype="float32", always_2d=True)
            wave = resample(mono(samples), from_hz, rate_hz)
        except (soundfile.LibsndfileError, AudioError):
            continue  # training can do without; the main job's rejects name such clips
        if not len(wave) or not np.isfinite(wave).all():
            continue
        waves.append((wave.clip(-1, 1) * _SCALE).astype(np.int16))
        speakers.append(str(notes.get("speaker") or key))
        texts.append(str(notes.get("text") or "").strip())
    bounds = np.cumsum([0, *(len(wave) for wave in waves)], dtype=np.int64)
    joined = np.concatenate(waves) if waves else np.zeros(0, np.int16)
    return ShardAudio(joined, bounds, tuple(speakers), tuple(texts))


def _pairs(url: str) -> Iterator[tuple[str, bytes, dict[str, Any]]]:
    audio: dict[str, bytes] = {}
    notes: dict[str, dict[str, Any]] = {}
    with fsspec.open(url, "rb") as file, tarfile.open(fileobj=file, mode="r|*") as tar:
        for member in tar:
            content = tar.extractfile(member)
            key, _, suffix = member.name.rpartition(".")
            if content is None:
                continue
            if suffix == "json":
                notes[key] = json.loads(content.read())
            else:
                audio[key] = content.read()
            if key in audio and key in notes:
                yield key, audio.pop(key), notes.pop(key)
    for key, data in audio.items():
        yield key, data, {}
