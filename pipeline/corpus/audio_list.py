"""A list of audio files as it stands in a shard: which file, which span of it, what is known of it.

`lists/` makes lists, `list_clips.py` reads them. A list is lines of JSON; the number of a line is
the place of its clip. The list of a finished shard lies in the output, below `lists/`.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from pipeline.corpus.metadata import clean_text
from pipeline.corpus.reject_reasons import Reason
from pipeline.corpus.shard import Shard
from pipeline.storage.client import StoredFile
from pipeline.storage.location import is_local, join, local_path

# Gives the files with these URLs; None where there is none.
LookUp = Callable[[Sequence[str]], Mapping[str, StoredFile | None]]
_ENCODER = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":"))


@dataclass(frozen=True, slots=True)
class Span:
    """What of a file is a clip: seconds from `start` to `end`, or to its end; a channel, or all."""

    start: float = 0.0
    end: float | None = None
    channel: int | None = None


@dataclass(frozen=True, slots=True)
class ListedFile:
    """A file as it was when the list was made; its path is relative to the list where it can be."""

    path: str
    size_bytes: int
    etag: str


@dataclass(frozen=True, slots=True)
class ListedClip:
    """One line: a clip, or what is in its place and why it is none.

    Names that are no UTF-8 have lone surrogates here; `key` and `detail` show them as escapes.
    """

    key: str
    audio: ListedFile | None = None
    json: ListedFile | None = None
    text: ListedFile | None = None
    span: Span | None = None
    fields: Mapping[str, Any] = field(default_factory=dict)
    reason: Reason | None = None
    detail: str = ""

    def __post_init__(self) -> None:
        for name in ("key", "detail"):
            object.__setattr__(self, name, clean_text(getattr(self, name)))

    def to_line(self) -> str:
        """The clip as a line of JSON, without what it lacks."""
        return _ENCODER.encode({k: v for k, v in asdict(self).items() if v not in (None, "", {})})

    @classmethod
    def of_line(cls, line: bytes) -> "ListedClip":
        """The clip of a line."""
        values = json.loads(line)
        for name in ("audio", "json", "text"):
            values[name] = ListedFile(**values[name]) if name in values else None
        values["span"] = Span(**values["span"]) if "span" in values else None
        values["reason"] = Reason(values["reason"]) if "reason" in values else None
        return cls(**values)


def to_shard(url: str, path: str, clips: Sequence[ListedClip]) -> Shard:
    """The shard that a list is; its size is that of its files, its etag a hash of its lines."""
    listed = "".join(f"{clip.to_line()}\n" for clip in clips).encode("utf-8", "surrogatepass")
    files = {clip.audio.path: clip.audio.size_bytes for clip in clips if clip.audio is not None}
    size = sum(max(0, each) for each in files.values())
    return Shard(url, path, size, list_etag(listed), listed=listed)


def list_etag(listed: bytes) -> str:
    """The etag of the shard that a list is."""
    return hashlib.sha256(listed).hexdigest()[:32]


def read_list(listed: bytes) -> list[ListedClip]:
    """The clips of a list."""
    return [ListedClip.of_line(line) for line in listed.splitlines()]


def locate(path: str, list_url: str) -> str:
    """Where a file of a list is: paths are relative to the folder of the list."""
    if "://" in path or path.startswith("/"):
        return path
    return join(list_url.rpartition("/")[0], path)


def relative(url: str, folder: str) -> str:
    """The path of a file as a list in this folder has it."""
    plain = local_path(url) if is_local(url) else url
    return plain.removeprefix(f"{folder.rstrip('/')}/")


def files_of(clips: Iterable[ListedClip]) -> list[ListedFile]:
    """Every file that the clips name, each once."""
    files = (each for clip in clips for each in (clip.audio, clip.json, clip.text) if each)
    return list(dict.fromkeys(files))


def changed_files(clips: Sequence[ListedClip], url: str, look_up: LookUp) -> list[str]:
    """The URLs of files of a list that are not what they were; `url` is that of the list."""
    files = files_of(clips)
    found = look_up([locate(file.path, url) for file in files])
    return [
        now
        for file in files
        for now in (locate(file.path, url),)
        if (there := found[now]) is None
        or (there.size_bytes, there.etag) != (file.size_bytes, file.etag)
    ]
