"""The lists of a manifest: lines of JSON, CSV or TSV, each of which is a clip."""

import gzip
import zlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from pipeline.corpus.audio_list import LookUp
from pipeline.corpus.lists.csv_lines import csv_lines, decimal_commas
from pipeline.corpus.lists.field_names import shown_names
from pipeline.corpus.lists.json_lines import json_lines
from pipeline.corpus.lists.lhotse_cuts import wish_of_cut
from pipeline.corpus.lists.nemo_lines import wish_of_line
from pipeline.corpus.lists.wished_clip import (
    Mirror,
    WishedClip,
    cut_into_lists,
    find_clips,
    refuse_lines,
)
from pipeline.corpus.shard import Shard
from pipeline.errors import InputError, UsageError
from pipeline.storage.client import Storage
from pipeline.storage.location import redact

# `.json` only where it is named: beside audio it is the JSON of a clip.
MANIFEST_SUFFIXES = (".jsonl", ".jsonl.gz", ".csv", ".tsv", ".json")
T = TypeVar("T")
_BROKEN = (ValueError, OSError, EOFError, zlib.error)
_BROKEN_ROW = (ValueError, KeyError, TypeError, AttributeError)
_MOST_FAULTS = 10


def lists_of_manifest(
    url: str, storage: Storage, look_up: LookUp, mirror: Mirror, clips_per_list: int
) -> list[Shard]:
    """The lists of a manifest; paths in it are relative to its folder."""
    wishes = read_manifest(url, storage, _wish)
    suffix = next(each for each in MANIFEST_SUFFIXES if url.endswith(each))
    clips = find_clips(wishes, url, look_up)
    return cut_into_lists(clips, f"{url.removesuffix(suffix)}-", mirror, clips_per_list)


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
                raise ValueError(
                    f"line {number}: {what}; its fields are {shown_names(row)}"
                ) from error
    except _BROKEN as error:
        raise InputError(
            f"Manifest `{redact(url)}` cannot be read ({error}); expected lines of JSON, CSV or "
            "TSV with the path of an audio file in each; correct it"
        ) from error
    refuse_lines(url, faults)
    return made


def _wish(row: Mapping[str, Any]) -> WishedClip:
    return wish_of_cut(row) if "type" in row and "id" in row else wish_of_line(row)


def _rows(url: str, content: bytes) -> Iterable[tuple[int, Mapping[str, Any]]]:
    text = (gzip.decompress(content) if url.endswith(".gz") else content).decode("utf-8-sig")
    if url.endswith((".jsonl", ".jsonl.gz", ".json")):
        return json_lines(text)
    rows = list(csv_lines(text, has_tabs=url.endswith(".tsv")))
    refuse_lines(url, decimal_commas(rows))
    return rows
