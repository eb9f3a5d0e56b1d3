"""A clip as a manifest or folder names it, before its file is looked up; and lists of such clips.

Every kind of list makes these; `find_clips` looks up their files, `cut_into_lists` makes shards.
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from pipeline.corpus.audio_list import (
    ListedClip,
    ListedFile,
    LookUp,
    Span,
    locate,
    relative,
    to_shard,
)
from pipeline.corpus.pairing import AUDIO_EXTENSIONS
from pipeline.corpus.reject_reasons import Reason
from pipeline.corpus.shard import LIST_SUFFIX, Shard
from pipeline.errors import UsageError, list_lines
from pipeline.storage.location import redact

# Gives the path below the output of what would be at a URL.
Mirror = Callable[[str], str]
_MOST_SHOWN = 80


@dataclass(frozen=True, slots=True)
class WishedClip:
    """A clip of a manifest before its file is looked up."""

    path: str
    key: str
    span: Span | None
    fields: Mapping[str, Any]
    fault: str = ""


def is_audio(url: str) -> bool:
    """Whether the name of a file is one of audio."""
    return PurePosixPath(url).suffix[1:].lower() in AUDIO_EXTENSIONS


def refuse_lines(url: str, faults: Sequence[str]) -> None:
    """Raise where lines of a manifest have faults, all at once."""
    if faults:
        raise UsageError(
            f"`{redact(url)}` has lines that say no clip:\n{list_lines(faults)}\n"
            "correct or remove these lines, and rename fields that mean something else"
        )


def seconds_in(row: Mapping[str, Any], name: str) -> float:
    """The number of seconds in a field; raises where it has none."""
    value = row[name]
    try:
        number: float = float(value) if isinstance(value, str) else value
        if not isinstance(value, bool) and math.isfinite(number):
            return number
    except (ValueError, TypeError, OverflowError):
        pass
    raise UsageError(f"`{name}` is {_shown(value)}; expected a number of seconds, as 1.5")


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}…"


def span_between(start: float, end: float | None, channel: int | None = None) -> Span:
    """A span that has a length; raises for any other."""
    if start < 0:
        raise UsageError(f"its start is {start} s; expected 0 or more")
    if end is not None and end <= start:
        raise UsageError(f"its end, {end} s, is not after its start, {start} s; expected it to be")
    return Span(float(start), None if end is None else float(end), channel)


def find_clips(wishes: Sequence[WishedClip], url: str, look_up: LookUp) -> list[ListedClip]:
    """The clips of a manifest with their files as they are now."""
    folder = url.rpartition("/")[0]
    found = look_up([locate(wish.path, url) for wish in wishes if not wish.fault])
    keys: set[str] = set()
    clips: list[ListedClip] = []
    for number, wish in enumerate(wishes):
        file = None if wish.fault else found[locate(wish.path, url)]
        audio = None
        if file is not None:
            path = relative(locate(wish.path, url), folder)
            audio = ListedFile(path, file.size_bytes, file.etag)
        key = wish.key or key_of(wish.path, wish.span) or f"{number:09}"
        if key in keys:
            key = f"{key}-{number:09}"
        keys.add(key)
        clip = ListedClip(key, audio, span=wish.span, fields=wish.fields)
        if audio is None:
            detail = wish.fault or f"there is no file `{wish.path}`"
            clip = ListedClip(key, reason=Reason.MISSING_AUDIO, detail=detail)
        clips.append(clip)
    if not any(clip.audio for clip in clips):
        first = clips[0].detail if clips else "it has no lines"
        raise UsageError(
            f"`{redact(url)}` names no audio that is there: {first}; expected paths relative to "
            "its folder, absolute ones or URLs; correct them"
        )
    return clips


def key_of(path: str, span: Span | None) -> str:
    """The key of a clip that has no name: its path, and the milliseconds of its span."""
    name = path.split("://", 1)[-1].lstrip("/")
    stem = name.removesuffix(PurePosixPath(name).suffix) if is_audio(name) else name
    if span is None:
        return stem
    end = "" if span.end is None else f"-{round(span.end * 1000):08}"
    return f"{stem}-{round(span.start * 1000):08}{end}"


def cut_into_lists(
    clips: Sequence[ListedClip], prefix: str, mirror: Mirror, clips_per_list: int
) -> list[Shard]:
    """Cut clips into lists, each of which is a shard."""
    shards = []
    for number, start in enumerate(range(0, len(clips), clips_per_list)):
        url = f"{prefix}{number:05}{LIST_SUFFIX}"
        shards.append(to_shard(url, mirror(url), clips[start : start + clips_per_list]))
    return shards
