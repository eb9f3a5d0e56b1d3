"""Shards to train on: their clips one by one, or decoded whole, as 16-bit samples cached on disk.

webdataset walks the tar and groups its members by key; where the bytes come from is up to whoever
lists the shards. `local_shards` lists local files, `xytok train` lists any storage. webdataset's
decoders stay out: they would unpickle what a shard calls `.pkl`.
"""

import hashlib
import io
import json
import logging
import os
import tarfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import fsspec
import numpy as np
import numpy.typing as npt
from webdataset.handlers import ignore_and_continue
from webdataset.tariterators import group_by_keys, tar_file_iterator

from xy_codec.audio import read_audio
from xy_codec.errors import AudioError, ConfigError

logger = logging.getLogger(__name__)
_SCALE = 32767.0
_BLOCK_BYTES = 1 << 20
_HEADER_BYTES = 512


class Stream(Protocol):
    """What a shard is read from; a file that is open for reading is one."""

    def read(self, size: int, /) -> bytes:
        """The next `size` bytes, fewer only at the end."""
        ...

    def close(self) -> None:
        """Nothing more will be read."""
        ...


@dataclass(frozen=True, slots=True)
class SpeechShard:
    """A WebDataset tar to train on, wherever it is stored."""

    url: str  # for messages and as the order of shards
    version: str  # another one when the content is another one
    open: Callable[[], Stream]  # from the beginning, compressed or not


ListShards = Callable[[str], list[SpeechShard]]  # the shards behind a pattern, sorted by URL
Group = dict[str, Any]  # a clip as webdataset groups it: bytes by suffix, and `__key__`


@dataclass(frozen=True, slots=True)
class Clip:
    """The samples of a clip, 16 bits each, and what is said, "" if unknown."""

    samples: npt.NDArray[np.int16]
    text: str


@dataclass(frozen=True, slots=True)
class ShardAudio:
    """The clips of one shard; clip i is `samples[bounds[i] : bounds[i + 1]]`."""

    samples: npt.NDArray[np.int16]
    bounds: npt.NDArray[np.int64]
    speakers: tuple[str, ...]
    texts: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.speakers)

    def clip(self, number: int) -> Clip:
        """One clip; its samples are those of the shard, not a copy."""
        begin, end = int(self.bounds[number]), int(self.bounds[number + 1])
        return Clip(self.samples[begin:end], self.texts[number])


def to_float(samples: npt.NDArray[np.int16]) -> npt.NDArray[np.float32]:
    """Samples in [-1, 1]."""
    return np.asarray(samples, np.float32) / _SCALE


def local_shards(pattern: str) -> list[SpeechShard]:
    """The local shards that a glob names, sorted."""
    disk = fsspec.filesystem("file")
    paths = sorted(disk.glob(pattern))
    if not paths:
        raise ConfigError(
            f"No shard matches `{pattern}`; expected local WebDataset tars. Check the pattern."
        )
    return [SpeechShard(path, disk.ukey(path), partial(disk.open, path)) for path in paths]


def load_shard(shard: SpeechShard, rate_hz: int, cache: str = "") -> ShardAudio:
    """Decode a shard, or map what an earlier run decoded into the `cache` folder."""
    if not cache:
        return _decode(shard, rate_hz)
    stamp = hashlib.sha1(f"{shard.url}|{shard.version}|{rate_hz}".encode()).hexdigest()[:16]
    stem = f"{Path(cache) / Path(shard.url).name}-{stamp}"
    if not Path(f"{stem}.json").exists():
        _store(_decode(shard, rate_hz), stem)
    bounds, speakers, texts = json.loads(Path(f"{stem}.json").read_text(encoding="utf-8"))
    samples = np.load(f"{stem}.npy", mmap_mode="r")
    return ShardAudio(samples, np.asarray(bounds, np.int64), tuple(speakers), tuple(texts))


def _store(audio: ShardAudio, stem: str) -> None:
    Path(stem).parent.mkdir(parents=True, exist_ok=True)
    # Two runs may share the cache: each writes files of its own and the last rename wins.
    ours = f"{stem}.{os.getpid()}"
    np.save(f"{ours}.npy", audio.samples)
    index = json.dumps([audio.bounds.tolist(), audio.speakers, audio.texts])
    Path(f"{ours}.json").write_text(index, encoding="utf-8")
    for suffix in (".npy", ".json"):  # the index last: where it is, the samples are
        Path(ours + suffix).replace(stem + suffix)


def read_groups(shard: SpeechShard) -> Iterator[Group]:
    """The clips of a shard, not decoded: members that stand together and share a key."""
    # A name that comes twice in a clip is an error that is ignored: the first member counts.
    groups: Iterator[Group] = group_by_keys(_members(shard), handler=ignore_and_continue)
    return groups


def decode_group(group: Group, rate_hz: int) -> Clip | None:
    """Decode what `read_groups` gave; None where it holds no audio that can be decoded."""
    found = _decode_members(group, rate_hz)
    if found.wave is None:
        return None
    return Clip(found.wave, str(found.note.get("text") or found.text).strip())


class _Members(NamedTuple):
    """The members of a group, decoded, as far as they are there."""

    wave: npt.NDArray[np.int16] | None
    note: Mapping[str, Any]
    text: str


def _decode_members(group: Group, rate_hz: int) -> _Members:
    wave, note, text, sound = None, None, "", ""
    for name, content in group.items():
        kind = name.rpartition(".")[2].lower()
        if name.startswith("__"):
            continue
        if kind == "json":
            note = note or _fields(content)
        elif kind == "txt":
            text = text or content.decode("utf-8", "replace")
        elif wave is None:
            wave, sound = _wave(content, rate_hz), kind
        elif kind == sound:
            _tell_of_several(str(group.get("__url__")))
    return _Members(wave, note or {}, text)


@cache
def _tell_of_several(url: str) -> None:
    """Once a shard, in this process."""
    logger.warning(
        "Shard `%s` has several audio files of one key, of which the first is heard and the others "
        "are not. A key ends at the first dot of a name: write names without other dots",
        url,
    )


def _decode(shard: SpeechShard, rate_hz: int) -> ShardAudio:
    waves: dict[str, npt.NDArray[np.int16]] = {}
    notes: dict[str, Mapping[str, Any]] = {}
    texts: dict[str, str] = {}
    for group in read_groups(shard):
        # Members of one clip need not be neighbours, so a key may come in several groups.
        key, found = group["__key__"], _decode_members(group, rate_hz)
        if found.wave is not None:
            waves.setdefault(key, found.wave)
        if found.note:
            notes.setdefault(key, found.note)
        if found.text:
            texts.setdefault(key, found.text)
    said = [str(notes.get(key, {}).get("text") or texts.get(key, "")).strip() for key in waves]
    return ShardAudio(
        samples=np.concatenate([*waves.values(), np.zeros(0, np.int16)]),
        bounds=np.cumsum([0, *map(len, waves.values())], dtype=np.int64),
        speakers=tuple(str(notes.get(key, {}).get("speaker") or key) for key in waves),
        texts=tuple(said),
    )


def _members(shard: SpeechShard) -> Iterator[dict[str, Any]]:
    """Name and content of each file in the tar; a damaged tar is named in the log."""
    try:
        with closing(shard.open()) as file:
            for member in tar_file_iterator(file):
                yield member | {"__url__": shard.url}
            # Python's tar reader takes a damaged header for the end of the tar. Behind a true end
            # are only zeros, or a few bytes of compression; damage to the last 10 KiB, which it
            # reads at once, is not noticed.
            blocks = iter(lambda: file.read(_BLOCK_BYTES), b"")
            if any(len(block.strip(b"\0")) >= _HEADER_BYTES for block in blocks):
                raise tarfile.ReadError("there is more behind what looks like its end")
    except tarfile.TarError as error:
        logger.warning("Shard `%s` is damaged (%s); what came before is used", shard.url, error)


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
