"""Shards decoded for training: all clips of one as 16-bit samples end to end, cached on disk."""

import hashlib
import io
import json
import logging
import os
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import numpy.typing as npt

from xy_codec.audio import read_audio
from xy_codec.errors import AudioError, ConfigError

logger = logging.getLogger(__name__)
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
    stamp = hashlib.sha1(f"{url}|{fs.ukey(path)}|{rate_hz}".encode()).hexdigest()[:16]
    stem = f"{Path(cache) / Path(path).name}-{stamp}"
    index = Path(f"{stem}.json")
    if not index.exists():
        _store(_decode(url, rate_hz), stem)
    kept = json.loads(index.read_text(encoding="utf-8"))
    samples = np.load(f"{stem}.npy", mmap_mode="r")
    bounds = np.asarray(kept["bounds"], np.int64)
    return ShardAudio(samples, bounds, tuple(kept["speakers"]), tuple(kept["texts"]))


def _store(audio: ShardAudio, stem: str) -> None:
    Path(stem).parent.mkdir(parents=True, exist_ok=True)
    # Two runs may share the cache: each writes its own file and the last rename wins.
    partial = Path(f"{stem}.{os.getpid()}.npy")
    np.save(partial, audio.samples)
    partial.replace(f"{stem}.npy")
    index = {
        "bounds": audio.bounds.tolist(),
        "speakers": list(audio.speakers),
        "texts": list(audio.texts),
    }
    written = Path(f"{stem}.{os.getpid()}.partial")
    written.write_text(json.dumps(index), encoding="utf-8")
    written.replace(f"{stem}.json")


def _decode(url: str, rate_hz: int) -> ShardAudio:
    waves: dict[str, npt.NDArray[np.int16]] = {}
    notes: dict[str, Mapping[str, Any]] = {}
    texts: dict[str, str] = {}
    for key, kind, content in _members(url):
        if kind == "json":
            notes.setdefault(key, _fields(content))
        elif kind == "txt":
            texts.setdefault(key, content.decode("utf-8", "replace"))
        elif key not in waves and (wave := _wave(content, rate_hz)) is not None:
            waves[key] = wave
    said = [str(notes.get(key, {}).get("text") or texts.get(key, "")).strip() for key in waves]
    return ShardAudio(
        samples=np.concatenate([*waves.values(), np.zeros(0, np.int16)]),
        bounds=np.cumsum([0, *map(len, waves.values())], dtype=np.int64),
        speakers=tuple(str(notes.get(key, {}).get("speaker") or key) for key in waves),
        texts=tuple(said),
    )


def _wave(content: bytes, rate_hz: int) -> npt.NDArray[np.int16] | None:
    """None for what is no audio: training can do without, the main job's rejects name it."""
    try:
        wave = read_audio(io.BytesIO(content), rate_hz)
    except AudioError:
        return None
    if not len(wave) or not np.isfinite(wave).all():
        return None
    return np.asarray((wave.clip(-1, 1) * _SCALE).astype(np.int16))


def _fields(content: bytes) -> Mapping[str, Any]:
    try:
        fields = json.loads(content)
    except (ValueError, RecursionError):
        return {}
    return fields if isinstance(fields, dict) else {}


def _members(url: str) -> Iterator[tuple[str, str, bytes]]:
    """Key, kind and content of each member; the key ends at the first dot of the file's name."""
    try:
        with fsspec.open(url, "rb") as file, tarfile.open(fileobj=file, mode="r|*") as tar:
            for member in tar:
                content = tar.extractfile(member)
                folder, slash, name = member.name.rpartition("/")
                stem, _, suffix = name.partition(".")
                if content is not None and stem and suffix:
                    kind = suffix.rpartition(".")[2].lower()
                    yield folder + slash + stem, kind, content.read()
    except tarfile.TarError as error:
        logger.warning("Shard `%s` is damaged (%s); what came before is used", url, error)
