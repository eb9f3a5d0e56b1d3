"""Makes lists of audio files, the shards of corpora that come as neither tars nor Parquet.

`listing.py` calls it with folders and single files of audio, and with manifests: JSON lines (NeMo's
and lhotse's cuts among them), CSV and TSV, and Kaldi's folders. It reads manifests and asks for the
sizes of files; it opens no audio.
"""

import csv
import gzip
import io
import json
import logging
import math
import posixpath
import re
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Any, TypeVar

from pipeline.corpus.audio_list import (
    ListedClip,
    ListedFile,
    Span,
    files_of,
    locate,
    relative,
    to_shard,
)
from pipeline.corpus.pairing import AUDIO_EXTENSIONS
from pipeline.corpus.reject_reasons import Reason
from pipeline.corpus.shard import LIST_SUFFIX, Shard
from pipeline.errors import InputError, UsageError, list_lines
from pipeline.storage.client import Storage, StoredFile
from pipeline.storage.location import join, redact

logger = logging.getLogger(__name__)
# `.json` only where it is named: beside audio it is the JSON of a clip.
MANIFEST_SUFFIXES = (".jsonl", ".jsonl.gz", ".csv", ".tsv", ".json")
# What `datasets` reads of a folder of audio, by this column.
_AUDIO_FOLDER = ("metadata.csv", "metadata.jsonl")
_FILE_NAME = "file_name"
KALDI_LIST = "wav.scp"
T = TypeVar("T")
LookUp = Callable[[Sequence[str]], Mapping[str, StoredFile | None]]
Mirror = Callable[[str], str]
# The fields in which manifests name the audio and its key, the first that a line has.
_PATHS = ("audio_filepath", "audio_path", "audio", "path", "file_name", "file", "wav", "filename")
_KEYS = ("id", "key", "utt_id", "utterance_id", "segment_id")
# All are found in any case of letters.
_STARTS = ("offset", "start", "start_time", "begin")
_ENDS = ("end", "end_time")
# Columns of CSV that stay text where they look like numbers.
_TEXTS = (*_PATHS, *_KEYS, "text", "speaker", "language")
# Those that have a column in the parts.
_KNOWN = ("text", "speaker", "language", "dnsmos", "phone_count", "duration")
_BROKEN = (ValueError, OSError, EOFError, zlib.error)
_BROKEN_ROW = (ValueError, KeyError, TypeError, AttributeError)
_MOST_FAULTS = 10
_MOST_SHOWN = 80
_MOST_NAMES = 20
_NUMBER = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?([eE][-+]?\d+)?")


@dataclass(frozen=True, slots=True)
class _Wish:
    """A clip of a manifest before its file is looked up."""

    path: str
    key: str
    span: Span | None
    fields: Mapping[str, Any]
    fault: str = ""


def is_audio(url: str) -> bool:
    """Whether the name of a file is one of audio."""
    return PurePosixPath(url).suffix[1:].lower() in AUDIO_EXTENSIONS


def lists_of_files(
    files: Sequence[StoredFile], folder: str, storage: Storage, mirror: Mirror, clips_per_list: int
) -> list[Shard]:
    """The lists of the audio below a folder, with JSON and text of the same name beside it.

    Args:
        files: everything to look at; what is neither audio nor text is counted in the log.
        folder: the URL above all of them.
        storage: reads the metadata of folders as `datasets` has them.
        mirror: gives the path below the output of what would be at a URL.
    """
    files, tables = _apart_from_metadata(files)
    fields = {path: row for url in tables for path, row in _folder_metadata(url, folder, storage)}
    kinds: dict[str, dict[str, list[ListedFile]]] = {}
    broken_links: set[str] = set()
    others = 0
    for file in sorted(files, key=lambda each: each.url):
        name = relative(file.url, folder)
        stem, _, extension = name.rpartition(".")
        kind = "audio" if is_audio(name) else extension.lower()
        if kind not in ("audio", "json", "txt") or not stem or stem.endswith("/"):
            others += 1
            continue
        broken_links |= {name} if file.is_broken_link else set()
        listed = ListedFile(name, file.size_bytes, file.etag)
        kinds.setdefault(stem, {}).setdefault(kind, []).append(listed)
    if others:
        logger.info("%d files below `%s` are neither audio, JSON nor text", others, redact(folder))
    clips = [clip for stem in sorted(kinds) for clip in _clips_of(stem, kinds[stem], broken_links)]
    if fields:
        clips = list(_with_fields(clips, fields))
    return _cut(clips, join(folder, ""), mirror, clips_per_list)


def _apart_from_metadata(files: Sequence[StoredFile]) -> tuple[list[StoredFile], list[str]]:
    """Files, and the URLs of those that describe the others."""
    tables = [file.url for file in files if file.url.rpartition("/")[2] in _AUDIO_FOLDER]
    return [file for file in files if file.url not in tables], tables


def _folder_metadata(
    url: str, folder: str, storage: Storage
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The rows of a table by the paths of their files below the folder; none without its column."""
    first_line = storage.read_bytes(url).partition(b"\n")[0]
    if _FILE_NAME.encode() not in first_line:
        logger.warning(
            "`%s` is left out: it has no column `%s`, as metadata of a folder of audio have; name "
            "it as the input if it is a manifest",
            *(redact(url), _FILE_NAME),
        )
        return
    for name, row in read_manifest(url, storage, _named_file):
        yield posixpath.normpath(relative(locate(name, url), folder)), row


def _named_file(row: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    return str(row[_FILE_NAME]), {n: value for n, value in row.items() if n != _FILE_NAME}


def _with_fields(
    clips: Sequence[ListedClip], fields: Mapping[str, Mapping[str, Any]]
) -> Iterator[ListedClip]:
    """Clips with what is known of their files, and in front the files that are not there."""
    there = {clip.audio.path for clip in clips if clip.audio is not None}
    keys = {clip.key for clip in clips}
    for path in sorted(fields):
        if path not in there and _key_of(path, None) not in keys:
            detail = f"there is no file `{path}`, which the folder's metadata name"
            yield ListedClip(_key_of(path, None), reason=Reason.MISSING_AUDIO, detail=detail)
    for clip in clips:
        known = fields.get(clip.audio.path) if clip.audio is not None else None
        yield clip if known is None else replace(clip, fields=known)
    silent = len(there - fields.keys())
    if silent:
        logger.warning("%d files of audio are not in the metadata of their folder", silent)


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


def _clips_of(
    stem: str, kinds: Mapping[str, Sequence[ListedFile]], broken_links: Collection[str]
) -> Iterator[ListedClip]:
    json_file, text = (next(iter(kinds.get(kind, ())), None) for kind in ("json", "txt"))
    if "audio" not in kinds:
        names = " and ".join(kinds)
        yield ListedClip(stem, reason=Reason.MISSING_AUDIO, detail=f"only {names}, no audio file")
        return
    first, *more = sorted(kinds["audio"], key=lambda each: each.path in broken_links)
    used = [each.path for each in (first, json_file, text) if each is not None]
    broken = next((path for path in used if path in broken_links), None)
    if broken is None:
        yield ListedClip(stem, first, json_file, text)
    else:
        reason = Reason.MISSING_AUDIO if broken == first.path else Reason.BAD_JSON
        detail = f"`{broken}` is a link to a file that is not there"
        yield ListedClip(stem, reason=reason, detail=detail)
    for other in more:
        detail = f"`{other.path}` is a second audio file of this name; the first is used"
        yield ListedClip(stem, reason=Reason.DUPLICATE_KEY, detail=detail)


def lists_of_manifest(
    url: str, storage: Storage, look_up: LookUp, mirror: Mirror, clips_per_list: int
) -> list[Shard]:
    """The lists of a manifest; paths in it are relative to its folder."""
    wishes = read_manifest(url, storage, _wish)
    suffix = next(each for each in MANIFEST_SUFFIXES if url.endswith(each))
    clips = _listed(wishes, url, look_up)
    return _cut(clips, f"{url.removesuffix(suffix)}-", mirror, clips_per_list)


def read_manifest(url: str, storage: Storage, of_row: Callable[[Mapping[str, Any]], T]) -> list[T]:
    """What `of_row` makes of every line of a manifest; its UsageErrors are gathered into one."""
    content = storage.read_bytes(url)
    made: list[T] = []
    faults: list[str] = []
    try:
        for number, row in _rows(url, content):
            try:
                made.append(of_row(row))
            except UsageError as error:
                faults.append(f"line {number}: {error}")
                if len(faults) == _MOST_FAULTS:
                    break
            except _BROKEN_ROW as error:
                what = f"no field {error}" if isinstance(error, KeyError) else str(error)
                raise ValueError(f"line {number}: {what}; its fields are {_names(row)}") from error
    except _BROKEN as error:
        raise InputError(
            f"Manifest `{redact(url)}` cannot be read ({error}); expected lines of JSON, CSV or "
            "TSV with the path of an audio file in each; correct it"
        ) from error
    _refuse(url, faults)
    return made


def _refuse(url: str, faults: Sequence[str]) -> None:
    if faults:
        raise UsageError(
            f"`{redact(url)}` has lines that say no clip:\n{list_lines(faults)}\n"
            "correct or remove these lines, and rename fields that mean something else"
        )


def lists_of_kaldi(
    folder: str, storage: Storage, look_up: LookUp, mirror: Mirror, clips_per_list: int
) -> list[Shard]:
    """The lists of a Kaldi folder: `wav.scp`, and `segments`, `text`, `utt2spk` where they are."""
    there = {each.url.rpartition("/")[2] for each in storage.glob_files(join(folder, "*"))}

    def lines(name: str) -> list[tuple[int, str]]:
        if name not in there:
            return []
        try:
            text = storage.read_bytes(join(folder, name)).decode("utf-8")
        except UnicodeDecodeError as error:
            raise InputError(
                f"`{redact(join(folder, name))}` cannot be read ({error}); expected UTF-8 text; "
                "correct it"
            ) from error
        return [(n, line) for n, line in enumerate(text.splitlines(), 1) if line.strip()]

    def table(name: str) -> dict[str, str]:
        pairs = (line.split(maxsplit=1) for _, line in lines(name))
        return {key: "".join(rest).strip() for key, *rest in pairs}

    recordings = table(KALDI_LIST)
    columns = {"text": "text", "speaker": "utt2spk", "language": "utt2lang"}
    known = {name: table(file) for name, file in columns.items()}
    wishes: list[_Wish] = []
    faults: list[str] = []
    for number, line in lines("segments"):
        try:
            key, recording, span = _segment(line)
        except UsageError as error:
            faults.append(f"line {number}: {error}")
            continue
        wishes.append(_kaldi_wish(key, recording, span, recordings, known))
    _refuse(join(folder, "segments"), faults)
    wishes = wishes or [_kaldi_wish(key, key, None, recordings, known) for key in recordings]
    clips = _listed(wishes, join(folder, KALDI_LIST), look_up)
    return _cut(clips, join(folder, ""), mirror, clips_per_list)


def _segment(line: str) -> tuple[str, str, Span]:
    fields = line.split()
    # Kaldi's own readers take a channel as a fifth field; all channels are read here.
    if len(fields) not in (4, 5):
        raise UsageError(
            f"`{line.strip()[:_MOST_SHOWN]}` has {len(fields)} fields; expected a key, a "
            "recording, a start and an end"
        )
    times = {"start": fields[2], "end": fields[3]}
    start, end = _seconds(times, "start"), _seconds(times, "end")
    # The end -1 stands for the end of the recording.
    return fields[0], fields[1], _span(start, None if end == -1 else end)


def _kaldi_wish(
    key: str,
    recording: str,
    span: Span | None,
    recordings: Mapping[str, str],
    known: Mapping[str, Mapping[str, str]],
) -> _Wish:
    path = recordings.get(recording, "")
    fields = {name: table[key] for name, table in known.items() if key in table}
    fault = "" if path else f"`{KALDI_LIST}` has no recording `{recording}`"
    if path.endswith("|"):
        fault = f"`{KALDI_LIST}` has a command in place of a path, and no command is run"
    return _Wish(path, key, span, fields, fault)


def _listed(wishes: Sequence[_Wish], url: str, look_up: LookUp) -> list[ListedClip]:
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
        key = wish.key or _key_of(wish.path, wish.span) or f"{number:09}"
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


def _key_of(path: str, span: Span | None) -> str:
    name = path.split("://", 1)[-1].lstrip("/")
    stem = name.removesuffix(PurePosixPath(name).suffix) if is_audio(name) else name
    if span is None:
        return stem
    end = "" if span.end is None else f"-{round(span.end * 1000):08}"
    return f"{stem}-{round(span.start * 1000):08}{end}"


def _cut(
    clips: Sequence[ListedClip], prefix: str, mirror: Mirror, clips_per_list: int
) -> list[Shard]:
    shards = []
    for number, start in enumerate(range(0, len(clips), clips_per_list)):
        url = f"{prefix}{number:05}{LIST_SUFFIX}"
        shards.append(to_shard(url, mirror(url), clips[start : start + clips_per_list]))
    return shards


def _rows(url: str, content: bytes) -> Iterator[tuple[int, Mapping[str, Any]]]:
    content = gzip.decompress(content) if url.endswith(".gz") else content
    text = content.decode("utf-8-sig")
    if url.endswith((".jsonl", ".jsonl.gz", ".json")):
        for number, line in enumerate(text.split("\n"), 1):
            try:
                row = json.loads(line) if line.strip() else None
            except json.JSONDecodeError as error:
                raise ValueError(
                    f"line {number} is no JSON: {error.msg} at column {error.colno}"
                ) from error
            if row is not None and not isinstance(row, dict):
                raise ValueError(f"line {number} is a JSON {type(row).__name__}, not an object")
            if row is not None:
                yield number, row
        return
    reader = csv.DictReader(
        io.StringIO(text),
        delimiter="\t" if url.endswith(".tsv") else ",",
        quoting=csv.QUOTE_NONE if url.endswith(".tsv") else csv.QUOTE_MINIMAL,
        strict=True,
    )
    try:
        for row in reader:
            if None in row or None in row.values():
                raise ValueError(
                    f"line {reader.line_num} has another number of columns than the first, which "
                    f"has {_names(reader.fieldnames or ())}"
                )
            # An empty path is kept: its line becomes a reject.
            fields = {
                name: _typed(name, value)
                for name, value in row.items()
                if value or name.lower() in _PATHS
            }
            yield reader.line_num, fields
    except csv.Error as error:
        # The number is that of the last line that was read well.
        raise ValueError(f"after line {reader.line_num}: {error}") from error


def _typed(name: str, value: str) -> Any:
    return json.loads(value) if name.lower() not in _TEXTS and _NUMBER.fullmatch(value) else value


def _names(fields: Iterable[str]) -> str:
    names = [f"`{name[:_MOST_SHOWN]}`" for name in fields]
    more = ", …" if len(names) > _MOST_NAMES else ""
    return f"{', '.join(names[:_MOST_NAMES])}{more}" if names else "none"


def _wish(row: Mapping[str, Any]) -> _Wish:
    return _cut_wish(row) if "type" in row and "id" in row else _plain_wish(row)


def _plain_wish(row: Mapping[str, Any]) -> _Wish:
    """A line with a path, as NeMo's manifests have it."""
    written = {name.lower(): name for name in row} | {name: name for name in row}
    paths = [written[name] for name in _PATHS if name in written]
    path_field = next((name for name in paths if row[name] and isinstance(row[name], str)), None)
    is_empty = bool(paths) and all(row[name] in (None, "") for name in paths)
    if path_field is None and not is_empty:
        raise UsageError(
            f"it has no path of an audio file: expected text in one of the fields "
            f"{', '.join(_PATHS)}; its fields are {_names(row)}"
        )
    keys = [written[name] for name in _KEYS if name in written]
    key_field = next((name for name in keys if isinstance(row[name], str | int)), None)
    start, end, duration = (
        next((_seconds(row, name) for name in found if row[name] is not None), None)
        for names in (_STARTS, _ENDS, ("duration",))
        for found in ([written[name] for name in names if name in written],)
    )
    if end is None and start is not None and duration is not None:
        end = start + duration
    span = None if start is None and end is None else _span(start or 0.0, end)
    fields = {
        name.lower()
        if written.get(name.lower()) == name and name.lower() in _KNOWN
        else name: value
        for name, value in row.items()
        if name not in (path_field, key_field)
        and name.lower() not in (*_STARTS, *_ENDS)
        and not (name in paths and row[name] in (None, ""))
    }
    if duration is not None:
        fields["duration"] = duration
    key = str(row[key_field]) if key_field else ""
    if path_field is None:
        return _Wish("", key, None, fields, f"its `{paths[0]}` is empty")
    return _Wish(row[path_field], key, span, fields)


def _seconds(row: Mapping[str, Any], name: str) -> float:
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


def _span(start: float, end: float | None, channel: int | None = None) -> Span:
    if start < 0:
        raise UsageError(f"its start is {start} s; expected 0 or more")
    if end is not None and end <= start:
        raise UsageError(f"its end, {end} s, is not after its start, {start} s; expected it to be")
    return Span(float(start), None if end is None else float(end), channel)


def cut_fields(row: Mapping[str, Any]) -> dict[str, Any]:
    """The metadata of a cut of lhotse: custom fields, and what its supervisions say."""
    fields: dict[str, Any] = dict(row.get("custom") or {})
    supervisions = row.get("supervisions") or []
    for name in ("text", "speaker", "language"):
        values = [each[name] for each in supervisions if each.get(name)]
        if values and (name == "text" or len(set(values)) == 1):
            fields[name] = " ".join(values) if name == "text" else values[0]
    return fields | {"duration": row.get("duration")}


def _cut_wish(row: Mapping[str, Any]) -> _Wish:
    recording = row.get("recording") or {}
    sources = recording.get("sources") or []
    fields = cut_fields(row)
    if row["type"] != "MonoCut" or len(sources) != 1 or sources[0].get("type") not in _READABLE:
        kinds = ", ".join(sorted({str(each.get("type")) for each in sources})) or "no recording"
        hint = "; name the tars `recording.*.tar` of Shar" if kinds == "shar" else ""
        fault = f"a {row['type']} of {kinds}; expected a MonoCut of one file{hint}"
        return _Wish("", str(row["id"]), None, fields, fault)
    start, duration = _seconds(row, "start"), _seconds(row, "duration")
    channels = sources[0].get("channels") or [0]
    channel = channels.index(row["channel"]) if len(channels) > 1 else None
    is_whole = start == 0 and abs(duration - float(recording["duration"])) < _ALIKE_SECONDS
    span = None if is_whole and channel is None else _span(start, start + duration, channel)
    if is_whole and span is not None:
        span = replace(span, start=0.0, end=None)
    return _Wish(sources[0]["source"], str(row["id"]), span, fields)


_READABLE = ("file", "url")
_ALIKE_SECONDS = 1e-3
