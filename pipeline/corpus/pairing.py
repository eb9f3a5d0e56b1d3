"""Pairs the members of a tar into clips by WebDataset's rules: audio, JSON and text with one key.

The reading thread feeds it member by member. A clip is given out when its group of neighbouring
members ends. JSON or text elsewhere in the tar also finds its clip: what came before is kept,
what comes after is given out as `LateText`.

By WebDataset's rule a key ends at the first dot: `take.9.wav` is the clip `take`. The text of such
a clip is `take.txt`, or what has the whole name of its audio, `take.9.txt`. With `key_dots` every
key ends at the last dot.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

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
# The same with dots in keys, but none in front: such files are hidden.
_DOTTED_KEY = re.compile(r"^((?:.*/|)[^./][^/]*)[.]([^./]*)$", re.DOTALL)
_TEXTS = ("json", "txt")
_REJECTED = -1
_MAX_TEXT_BYTES = 16 << 20


@dataclass(slots=True)
class ClipFiles:
    """The members of one key that were seen so far; `json` may be the fields that it holds."""

    key: str
    index: int = -1
    audio: TarMember | None = None
    json: bytes | Mapping[str, Any] | None = None
    text: bytes | None = None

    def add_texts(self, other: "ClipFiles") -> None:
        """Take the texts of another one where this one has none."""
        self.json = other.json if self.json is None else self.json
        self.text = other.text if self.text is None else self.text


@dataclass(frozen=True, slots=True)
class FoundClip:
    """An audio member with the JSON and text known when its group ended."""

    files: ClipFiles


@dataclass(frozen=True, slots=True)
class LateText:
    """JSON or text of a clip that was given out before."""

    index: int
    json: bytes | Mapping[str, Any] | None
    text: bytes | None


@dataclass(frozen=True, slots=True)
class RejectedMember:
    """A member that cannot become a clip, or JSON and text without audio."""

    key: str
    reason: Reason
    detail: str
    member: TarMember | None


PairingEvent = FoundClip | LateText | RejectedMember


def split_name(name: str, *, key_dots: bool = False) -> tuple[str, str] | None:
    """The key and the lower-case extension of a member's name; None when it belongs to no clip."""
    match = (_DOTTED_KEY if key_dots else _KEY).match(name)
    if match is None or match[1].endswith("/"):
        return None
    base = name.rpartition("/")[2]
    if base.startswith("__") and base.endswith("__"):
        return None
    return match[1].removeprefix("./"), match[2].lower()


@dataclass(slots=True)
class Pairing:
    """Groups the members of one tar: call `feed` for each in order, then `finish`.

    `unknown` counts the members that are neither audio nor text of a clip, by extension.
    """

    key_dots: bool = False
    has_audio: bool = False
    unknown: Counter[str] = field(default_factory=Counter)
    _group: ClipFiles | None = None
    _clips: dict[str, int] = field(default_factory=dict)
    _orphans: dict[str, ClipFiles] = field(default_factory=dict)
    # By key and by the name up to its last dot, where that is longer than the key: texts that wait
    # for their audio. Below, audio that was seen; `_REJECTED` is the index of what became no clip.
    _waiting: dict[str, dict[str, ClipFiles]] = field(default_factory=dict)
    _long_names: dict[str, int] = field(default_factory=dict)
    # The long name of the audio of a key, for keys whose audio has one.
    _long_name_of: dict[str, str] = field(default_factory=dict)
    _next_index: int = 0

    def feed(self, member: TarMember) -> Iterator[PairingEvent]:
        """The clips, texts and rejects that are known after one more member."""
        split = split_name(member.name, key_dots=self.key_dots)
        if split is None:
            base = member.name.rpartition("/")[2]
            self.unknown[""] += "." not in base and not base.startswith("__")
            return
        key, extension = split
        middle, _, kind = extension.rpartition(".")
        is_audio = kind in AUDIO_EXTENSIONS
        if not is_audio and kind not in _TEXTS:
            self.unknown[kind] += 1
            return
        long_name = member.name.removeprefix("./").rpartition(".")[0] if middle else ""
        if long_name and not is_audio:
            yield from self._add_long_named(key, member, kind, long_name)
            return
        if self._group is not None and self._group.key != key:
            yield from self._end_group()
        if self._group is None:
            self._group = ClipFiles(key)
        if is_audio:
            self.has_audio = True
            yield from self._add_audio(self._group, member, long_name)
        else:
            _add_text(self._group, member, kind)

    def finish(self) -> Iterator[PairingEvent]:
        """What is known at the end of the tar: the last group, and texts without audio."""
        yield from self._end_group()
        for files in self._orphans.values():
            yield _orphan(files, "")
        for waiting in self._waiting.values():
            for name, files in waiting.items():
                yield _orphan(files, f" `{name}`")
        self._orphans.clear()
        self._waiting.clear()

    def _add_audio(
        self, group: ClipFiles, member: TarMember, long_name: str
    ) -> Iterator[PairingEvent]:
        if group.audio is None and group.key not in self._clips:
            group.audio = member
            if long_name:
                self._long_name_of[group.key] = long_name
            return
        first = self._long_name_of.get(group.key, "")
        if first and long_name and first != long_name:
            self._waiting.get(group.key, {}).pop(long_name, None)
            self._long_names.setdefault(long_name, _REJECTED)
            detail = (
                f"`{member.name}` has the key `{group.key}` as `{first}` has it, because keys end "
                "at the first dot; pass `--key-dots` and a new output if these are two clips"
            )
            yield RejectedMember(group.key, Reason.KEY_DOTS, detail, member)
            return
        detail = f"`{member.name}` is a second audio member of this key; the first is used"
        yield RejectedMember(group.key, Reason.DUPLICATE_KEY, detail, member)

    def _add_long_named(
        self, key: str, member: TarMember, kind: str, long_name: str
    ) -> Iterator[PairingEvent]:
        """Text with the whole name of an audio member, before or after it."""
        index = self._long_names.get(long_name)
        if index is None and key in self._clips and key not in self._long_name_of:
            self.unknown[kind] += 1  # another field of a clip, such as `a.words.json` of `a.mp3`
        elif index is None:
            waiting = self._waiting.setdefault(key, {})
            _add_text(waiting.setdefault(long_name, ClipFiles(key)), member, kind)
        elif index != _REJECTED:
            files = ClipFiles(key)
            _add_text(files, member, kind)
            yield LateText(index, files.json, files.text)

    def _end_group(self) -> Iterator[PairingEvent]:
        group, self._group = self._group, None
        if group is None:
            return
        if group.audio is not None:
            yield self._found(group)
        elif group.key in self._clips:
            if group.json is not None or group.text is not None:
                yield LateText(self._clips[group.key], group.json, group.text)
        elif group.json is not None or group.text is not None:
            self._orphans.setdefault(group.key, group).add_texts(group)

    def _found(self, group: ClipFiles) -> FoundClip:
        earlier = self._orphans.pop(group.key, None)
        if earlier is not None:
            earlier.add_texts(group)
            group.json, group.text = earlier.json, earlier.text
        group.index = self._next_index
        long_name = self._long_name_of.get(group.key, "")
        if long_name:
            self._long_names[long_name] = group.index
            own = self._waiting.get(group.key, {}).pop(long_name, None)
            if own is not None:
                group.add_texts(own)
        else:
            for files in self._waiting.pop(group.key, {}).values():
                self.unknown.update(_kinds(files))
        self._clips[group.key] = group.index
        self._next_index += 1
        return FoundClip(group)


def _orphan(files: ClipFiles, of: str) -> RejectedMember:
    detail = f"only {' and '.join(_kinds(files))}, no audio member{of}"
    return RejectedMember(files.key, Reason.MISSING_AUDIO, detail, None)


def _add_text(files: ClipFiles, member: TarMember, kind: str) -> None:
    # The first of two wins. A link, a cut or a huge member counts as empty, so that its JSON is
    # reported.
    payload = b"" if member.payload is None or member.is_cut else member.payload
    payload = b"" if len(payload) > _MAX_TEXT_BYTES else payload
    if kind == "json":
        files.json = payload if files.json is None else files.json
    elif not member.link:
        files.text = payload if files.text is None else files.text


def _kinds(files: ClipFiles) -> list[str]:
    return [name for name in ("json", "text") if getattr(files, name) is not None]
