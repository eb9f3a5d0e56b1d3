"""The lists of a folder of audio: JSON and text of the same names, and the folder's metadata.

`metadata.csv` and `metadata.jsonl` are those that `datasets` reads of such a folder.
"""

import logging
import posixpath
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from pipeline.corpus.audio_list import ListedClip, ListedFile, locate, relative
from pipeline.corpus.lists.manifest import read_manifest
from pipeline.corpus.lists.wished_clip import Mirror, cut_into_lists, is_audio, key_of
from pipeline.corpus.reject_reasons import Reason
from pipeline.corpus.shard import Shard
from pipeline.plural import plural
from pipeline.storage.client import Storage, StoredFile
from pipeline.storage.location import join, redact

logger = logging.getLogger(__name__)
METADATA = ("metadata.csv", "metadata.jsonl")
_FILE_NAME = "file_name"


def lists_of_files(
    files: Sequence[StoredFile],
    folder: str,
    storage: Storage,
    mirror: Mirror,
    clips_per_list: int,
    *,
    are_all: bool,
) -> list[Shard]:
    """The lists of the audio below a folder, with JSON and text of the same name beside it.

    Args:
        files: everything to look at; what is neither audio nor text is counted in the log.
        folder: the URL above all of them.
        storage: reads the metadata of folders as `datasets` has them.
        mirror: gives the path below the output of what would be at a URL.
        are_all: whether these are all files of the folder, so that metadata of others miss theirs.
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
        logger.info(
            "Below `%s` %s neither audio, JSON nor text",
            redact(folder),
            plural(others, "file is", "files are"),
        )
    clips = [clip for stem in sorted(kinds) for clip in _clips_of(stem, kinds[stem], broken_links)]
    lonely = sum("audio" not in kinds[stem] for stem in kinds)
    if lonely:
        logger.warning(
            "Below `%s` %s no audio of the same name: a reject `missing_audio` each",
            *(redact(folder), plural(lonely, "text or JSON has", "texts or JSONs have")),
        )
    if fields:
        clips = list(_with_fields(clips, fields, are_all=are_all))
    return cut_into_lists(clips, join(folder, ""), mirror, clips_per_list)


def _apart_from_metadata(files: Sequence[StoredFile]) -> tuple[list[StoredFile], list[str]]:
    """Files, and the URLs of those that describe the others."""
    tables = [file.url for file in files if file.url.rpartition("/")[2] in METADATA]
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
    clips: Sequence[ListedClip], fields: Mapping[str, Mapping[str, Any]], *, are_all: bool
) -> Iterator[ListedClip]:
    """Clips with what is known of their files, and in front the files that are not there."""
    there = {clip.audio.path for clip in clips if clip.audio is not None}
    keys = {clip.key for clip in clips}
    for path in sorted(fields) if are_all else ():
        if path not in there and key_of(path, None) not in keys:
            detail = f"there is no file `{path}`, which the folder's metadata name"
            yield ListedClip(key_of(path, None), reason=Reason.MISSING_AUDIO, detail=detail)
    for clip in clips:
        known = fields.get(clip.audio.path) if clip.audio is not None else None
        yield clip if known is None else replace(clip, fields=known)
    silent = len(there - fields.keys())
    if silent:
        logger.warning(
            "%s not in the metadata of their folder",
            plural(silent, "file of audio is", "files of audio are"),
        )


def _clips_of(
    stem: str, kinds: Mapping[str, Sequence[ListedFile]], broken_links: Collection[str]
) -> Iterator[ListedClip]:
    json_file, text = (next(iter(kinds.get(kind, ())), None) for kind in ("json", "txt"))
    if "audio" not in kinds:
        names = " and ".join(f"`{each.path}`" for each in (json_file, text) if each)
        what = {"json": "JSON", "txt": "a text"}.get(" ".join(kinds), "JSON and a text")
        detail = f"{names}: {what} without an audio file of the same name"
        yield ListedClip(stem, reason=Reason.MISSING_AUDIO, detail=detail)
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
