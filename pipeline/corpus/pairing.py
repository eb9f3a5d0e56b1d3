"""Pairs the members of a tar into clips by WebDataset's rules: audio, JSON and text with one key.

The reading thread feeds it member by member. A clip is given out when its group of neighbouring
members ends. JSON or text elsewhere in the tar also finds its clip: what came before is kept,
what comes after is given out as `LateText`.
"""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from pipeline.corpus.reject_reasons import Reason
from pipeline.corpus.tar_reader import TarMember

# libsndfile cannot read some of these. Such a clip becomes a reject, so that it is counted; without
# the extension here it would be ignored.
AUDIO_EXTENSIONS = frozenset(
    {"mp3", "flac", "wav", "ogg", "oga", "opus", "aif", "aiff", "aifc", "au"}
)
AUDIO_EXTENSIONS |= {"caf", "w64", "rf64", "sph", "nist", "m4a", "aac", "mp4", "wma", "webm"}
# `folder/key.part.ext`: the key ends at the first dot of the file's name.
_KEY = re.compile(r"^((?:.*/|)[^.]+)[.]([^/]*)$", re.DOTALL)
_MAX_TEXT_BYTES = 16 << 20


@dataclass(slots=True)
class ClipFiles:
    """The members of one key that were seen so far."""

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
    """JSON or text of a clip that was given out before."""

    index: int
    json: bytes | None
    text: bytes | None


@dataclass(frozen=True, slots=True)
class RejectedMember:
    """A member that cannot become a clip, or JSON and text without audio."""

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
    """Groups the members of one tar: call `feed` for each in order, then `finish`.

    `unknown` counts the members that are neither audio nor text, by extension.
    """

    has_audio: bool = False
    unknown: Counter[str] = field(default_factory=Counter)
    _group: ClipFiles | None = None
    _clips: dict[str, int] = field(default_factory=dict)
    _orphans: dict[str, ClipFiles] = field(default_factory=dict)
    _next_index: int = 0

    def feed(self, member: TarMember) -> Iterator[PairingEvent]:
        """The clips, texts and rejects that are known after one more member."""
        split = split_name(member.name)
        if split is None:
            base = member.name.rpartition("/")[2]
            self.unknown[""] += "." not in base and not base.startswith("__")
            return
        key, extension = split
        kind = extension.rpartition(".")[2]
        is_audio = kind in AUDIO_EXTENSIONS
        if not is_audio and extension not in ("json", "txt"):
            self.unknown[kind] += 1
            return
        if self._group is not None and self._group.key != key:
            yield from self._end_group()
        if self._group is None:
            self._group = ClipFiles(key)
        if is_audio:
            self.has_audio = True
            yield from self._add_audio(self._group, member)
        else:
            self._add_text(self._group, member, extension)

    def finish(self) -> Iterator[PairingEvent]:
        """What is known at the end of the tar: the last group, and texts without audio."""
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
        # The first of two wins. A cut or huge member counts as empty, so that its JSON is reported.
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
