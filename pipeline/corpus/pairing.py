"""Members into clips: WebDataset's grouping rules, in any order, without waiting for a partner.

A clip leaves when its group of neighbouring members ends; JSON that lies elsewhere in the tar comes
later by `late`, or came before and was kept.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from pipeline.corpus.reject_reasons import Reason
from pipeline.corpus.tar_reader import TarMember

# Some of these libsndfile cannot read: better a reject than a clip that nobody misses.
AUDIO_EXTENSIONS = frozenset(
    {"mp3", "flac", "wav", "ogg", "oga", "opus", "aif", "aiff", "aifc", "au"}
)
AUDIO_EXTENSIONS |= {"caf", "w64", "rf64", "sph", "nist", "m4a", "aac", "mp4", "wma", "webm"}
# `folder/key.part.ext`: the key ends at the first dot of the file's name.
_KEY = re.compile(r"^((?:.*/|)[^.]+)[.]([^/]*)$", re.DOTALL)
_MAX_TEXT_BYTES = 16 << 20


@dataclass(slots=True)
class ClipFiles:
    """The members of one key as far as they were seen."""

    key: str
    index: int = -1
    audio: TarMember | None = None
    json: bytes | None = None
    text: bytes | None = None


@dataclass(frozen=True, slots=True)
class FoundClip:
    """An audio member with the JSON and text known when its group ended."""

    files: ClipFiles


@dataclass(frozen=True, slots=True)
class LateText:
    """JSON or text of a clip that left before."""

    index: int
    json: bytes | None
    text: bytes | None


@dataclass(frozen=True, slots=True)
class RejectedMember:
    """A member that is no clip, or whose bytes cannot be used."""

    key: str
    reason: Reason
    detail: str
    member: TarMember | None


PairingEvent = FoundClip | LateText | RejectedMember


def split_name(name: str) -> tuple[str, str] | None:
    """The key and the lower-case extension of a member's name; None when it belongs to no clip."""
    match = _KEY.match(name)
    if match is None or match[1].endswith("/"):
        return None
    base = name.rpartition("/")[2]
    if base.startswith("__") and base.endswith("__"):
        return None
    return match[1].removeprefix("./"), match[2].lower()


@dataclass(slots=True)
class Pairing:
    """Groups the members of one tar; feed them in order, then `finish`."""

    _group: ClipFiles | None = None
    _clips: dict[str, int] = field(default_factory=dict)
    _orphans: dict[str, ClipFiles] = field(default_factory=dict)
    _next_index: int = 0

    def feed(self, member: TarMember) -> Iterator[PairingEvent]:
        """What one more member settles."""
        split = split_name(member.name)
        if split is None:
            return
        key, extension = split
        kind = extension.rpartition(".")[2]
        is_audio = kind in AUDIO_EXTENSIONS
        if not is_audio and extension not in ("json", "txt"):
            return
        if self._group is not None and self._group.key != key:
            yield from self._end_group()
        if self._group is None:
            self._group = ClipFiles(key)
        if is_audio:
            yield from self._add_audio(self._group, member)
        else:
            self._add_text(self._group, member, extension)

    def finish(self) -> Iterator[PairingEvent]:
        """What the end of the tar settles: the last group, and texts without audio."""
        yield from self._end_group()
        for files in self._orphans.values():
            kinds = " and ".join(n for n in ("json", "text") if getattr(files, n) is not None)
            yield RejectedMember(
                files.key, Reason.MISSING_AUDIO, f"only {kinds}, no audio member", None
            )
        self._orphans.clear()

    def _add_audio(self, group: ClipFiles, member: TarMember) -> Iterator[PairingEvent]:
        if group.audio is not None or group.key in self._clips:
            detail = f"`{member.name}` is a second audio member of this key; the first is used"
            yield RejectedMember(group.key, Reason.DUPLICATE_KEY, detail, member)
            return
        group.audio = member

    def _add_text(self, group: ClipFiles, member: TarMember, extension: str) -> None:
        # The first of two wins; a cut or huge text is no JSON and is told so.
        payload = b"" if member.payload is None or member.is_cut else member.payload
        payload = b"" if len(payload) > _MAX_TEXT_BYTES else payload
        if extension == "json":
            group.json = payload if group.json is None else group.json
        else:
            group.text = payload if group.text is None else group.text

    def _end_group(self) -> Iterator[PairingEvent]:
        group, self._group = self._group, None
        if group is None:
            return
        if group.audio is not None:
            yield self._found(group)
        elif group.key in self._clips:
            yield LateText(self._clips[group.key], group.json, group.text)
        else:
            known = self._orphans.setdefault(group.key, group)
            known.json = group.json if known.json is None else known.json
            known.text = group.text if known.text is None else known.text

    def _found(self, group: ClipFiles) -> FoundClip:
        earlier = self._orphans.pop(group.key, None)
        if earlier is not None:
            group.json = earlier.json if earlier.json is not None else group.json
            group.text = earlier.text if earlier.text is not None else group.text
        group.index = self._next_index
        self._clips[group.key] = group.index
        self._next_index += 1
        return FoundClip(group)
