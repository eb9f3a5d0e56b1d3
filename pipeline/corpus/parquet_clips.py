"""The clips of a Parquet file with a column of audio, as Hugging Face's `datasets` writes it.

A row is a clip and its place; the other columns are its metadata, like the fields of a JSON. Rows
are read a few at a time. What cannot be read of a row group is a hole that counts its rows.
"""

import datetime
import decimal
import json
import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.corpus.pairing import (
    AUDIO_EXTENSIONS,
    ClipFiles,
    FoundClip,
    PairingEvent,
    RejectedMember,
)
from pipeline.corpus.reject_reasons import Reason
from pipeline.corpus.rules import ReadRules
from pipeline.corpus.shard import Shard
from pipeline.corpus.tar_reader import Hole, TarMember
from pipeline.errors import InputError, NotFoundError
from pipeline.storage.client import Storage, StoredFile
from pipeline.storage.location import is_local, join, local_path, normalise, redact
from pipeline.storage.range_file import RangeFile
from pipeline.storage.streams import check_as_listed

logger = logging.getLogger(__name__)
# Few, because a row of audio may have a megabyte or a hundred.
_ROWS_AT_A_TIME = 8
_BUFFER_BYTES = 4 << 20
# Columns that name a clip, the first that a row has; then the path of its audio.
_KEYS = ("id", "key", "__key__")
_DAMAGED = (pa.ArrowException, OSError)


@dataclass(frozen=True, slots=True)
class _Columns:
    """What is read of each row: the audio, and what becomes metadata."""

    audio: str
    fields: tuple[str, ...]
    labels: Mapping[str, Sequence[str]]

    @property
    def names(self) -> list[str]:
        return [self.audio, *self.fields]


@dataclass(frozen=True, slots=True)
class _Audio:
    """The audio of a row: its bytes, or why it has none."""

    payload: bytes | None
    path: str
    fault: str = ""


class ParquetClips:
    """Reads a Parquet file from its first row to its last; a clip's place is the row's number."""

    def __init__(
        self, shard: Shard, storage: Storage, rules: ReadRules, note_bytes: Callable[[int], None]
    ) -> None:
        self._shard = shard
        self._storage = storage
        self._rules = rules
        self._note_bytes = note_bytes
        self._keys: set[str] = set()
        self._noted = 0
        self.holes: list[Hole] = []
        self.members = 0
        self.is_over = False

    def __iter__(self) -> Iterator[list[PairingEvent]]:
        """The clip or reject of each row."""
        shard = self._shard
        with _opened(shard.stored, self._storage) as file:
            columns = _columns_of(file.schema, self._rules.audio_column, shard.url)
            rows, end = sum(file.group_rows), 0
            for group, count in enumerate(file.group_rows):
                end += count
                for values in self._rows(file, group, columns, end):
                    event = self._event(self.members, values, columns)
                    self.members += 1
                    self._note(rows)
                    self.is_over = self.members == rows
                    yield [event]
        check_as_listed(shard.stored, self._storage)

    def _rows(
        self, file: "_Parquet", group: int, columns: _Columns, end: int
    ) -> Iterator[Mapping[str, Any]]:
        try:
            yield from file.rows(group, columns.names)
        except _DAMAGED as error:
            shown = redact(self._shard.url)
            logger.warning("Row group %d of `%s` is damaged: %s", group, shown, error)
        if self.members < end:
            self.holes.append(Hole(self.members, end - self.members, "rows"))
            self.members = end

    def _event(self, row: int, values: Mapping[str, Any], columns: _Columns) -> PairingEvent:
        audio = _audio_of(values[columns.audio], self._shard.url, self._storage)
        fields = {
            name: _label(columns.labels.get(name), _plain(values[name]))
            for name in columns.fields
            if values[name] is not None
        }
        key = self._key(row, fields, audio.path)
        if audio.payload is None:
            place = TarMember(audio.path, row, 0, None)
            return RejectedMember(key, Reason.MISSING_AUDIO, audio.fault, place)
        size = len(audio.payload)
        is_small = size <= self._rules.max_member_bytes
        member = TarMember(audio.path, row, size, audio.payload if is_small else None)
        return FoundClip(ClipFiles(key, row, member, fields))

    def _key(self, row: int, fields: Mapping[str, Any], path: str) -> str:
        """The name of a row, made its own by its number where an earlier row has the same."""
        names = (fields[name] for name in _KEYS if isinstance(fields.get(name), str | int))
        key = str(next(names, "")) or _without_suffix(path) or f"{row:09}"
        while key in self._keys:
            key = f"{key}-{row:09}"
        self._keys.add(key)
        return key

    def _note(self, rows: int) -> None:
        share = max(0, self._shard.size_bytes) * self.members // rows
        self._note_bytes(share - self._noted)
        self._noted = share


class ParquetAudio:
    """Reads the audio of single rows of one file; its threads take turns."""

    def __init__(self, url: str, storage: Storage, audio_column: str | None) -> None:
        self._url = url
        self._storage = storage
        self._audio_column = audio_column
        self._file: StoredFile | None = None
        self._lock = threading.Lock()

    def __call__(self, row: int, _size: int) -> bytes:
        """The bytes of a row's audio."""
        with self._lock:
            if self._file is None:
                self._file = self._storage.file_info(self._url)
            with _opened(self._file, self._storage) as file:
                column = _columns_of(file.schema, self._audio_column, self._url).audio
                return self._audio(file, column, row)

    def _audio(self, file: "_Parquet", column: str, row: int) -> bytes:
        first = 0
        for group, count in enumerate(file.group_rows):
            rows = file.rows(group, [column]) if first <= row < first + count else ()
            for number, values in enumerate(rows, first):
                if number == row:
                    audio = _audio_of(values[column], self._url, self._storage)
                    if audio.payload is not None:
                        return audio.payload
            first += count
        raise InputError(
            f"Row {row} of `{redact(self._url)}` has no audio; expected the file that was "
            "tokenized; put it back"
        )


class _Parquet:
    """An open file; an error of storage stays one, whatever pyarrow makes of it."""

    def __init__(self, stored: StoredFile, storage: Storage) -> None:
        self._remote = None if is_local(stored.url) else RangeFile(stored, storage)
        source: Any = self._remote or local_path(stored.url)
        with self._errors_of_storage():
            self._file: Any = pq.ParquetFile(source, buffer_size=_BUFFER_BYTES, pre_buffer=False)
        self.schema = self._file.schema_arrow
        groups = range(self._file.num_row_groups)
        self.group_rows = [self._file.metadata.row_group(n).num_rows for n in groups]

    def rows(self, group: int, names: list[str]) -> Iterator[Mapping[str, Any]]:
        """The rows of a row group, a few in memory at a time."""
        with self._errors_of_storage():
            batches = self._file.iter_batches(
                batch_size=_ROWS_AT_A_TIME, row_groups=[group], columns=names, use_threads=False
            )
            for batch in batches:
                yield from batch.to_pylist()

    def close(self) -> None:
        """Free what it holds."""
        self._file.close()

    @contextmanager
    def _errors_of_storage(self) -> Iterator[None]:
        try:
            yield
        except _DAMAGED as error:
            if self._remote is not None and self._remote.error is not None:
                raise self._remote.error from error
            raise


@contextmanager
def _opened(stored: StoredFile, storage: Storage) -> Iterator[_Parquet]:
    try:
        file = _Parquet(stored, storage)
    except FileNotFoundError as error:
        raise NotFoundError(
            f"Shard `{redact(stored.url)}` is gone; expected the file that was listed; put it back"
        ) from error
    except _DAMAGED as error:
        raise InputError(
            f"Shard `{redact(stored.url)}` cannot be read as Parquet ({error}); expected a whole "
            "file; fetch it again"
        ) from error
    with closing(file):
        yield file


def _columns_of(schema: Any, wanted: str | None, url: str) -> _Columns:
    """Which column has the audio, by its type: `{bytes, path}`, or bytes named by the user."""
    features = _features(schema)
    found = [each.name for each in schema if _is_audio(each, features)]
    if wanted is not None:
        found = [wanted] if wanted in schema.names else []
    if len(found) != 1 or not (_is_struct(schema.field(found[0])) or wanted):
        several = f"has {len(found)} columns of audio: {', '.join(found)}" if found else ""
        named = f"has no column `{wanted}`" if wanted else "has no column of audio"
        raise InputError(
            f"Shard `{redact(url)}` {several or named}; expected one column `{{bytes, path}}` as "
            f"`datasets` writes it, of {', '.join(schema.names)}; name it with `--audio-column`"
        )
    others = [each for each in schema if each.name != found[0]]
    left_out = [each.name for each in others if _has_bytes(each.type)]
    if left_out:
        logger.info("Columns %s of `%s` hold bytes and are left out", left_out, redact(url))
    labels = {
        name: feature["names"]
        for name, feature in features.items()
        if isinstance(feature, dict) and feature.get("_type") == "ClassLabel"
    }
    fields = tuple(each.name for each in others if not _has_bytes(each.type))
    return _Columns(found[0], fields, labels)


def _features(schema: Any) -> Mapping[str, Any]:
    """What `datasets` noted of the columns."""
    try:
        noted = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
        features: Mapping[str, Any] = noted["info"]["features"]
    except (ValueError, KeyError, TypeError):
        return {}
    return features


def _is_audio(column: Any, features: Mapping[str, Any]) -> bool:
    feature = features.get(column.name)
    kind = feature.get("_type") if isinstance(feature, dict) else None
    # An image has the same type.
    return _is_struct(column) and kind in (None, "Audio")


def _is_struct(column: Any) -> bool:
    kind = column.type
    return pa.types.is_struct(kind) and any(
        each.name == "bytes" and _has_bytes(each.type) for each in kind
    )


def _has_bytes(kind: Any) -> bool:
    if pa.types.is_struct(kind):
        return any(_has_bytes(each.type) for each in kind)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return _has_bytes(kind.value_type)
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _audio_of(value: Any, url: str, storage: Storage) -> _Audio:
    if isinstance(value, bytes):
        return _Audio(value, "")
    payload, path = (value or {}).get("bytes"), (value or {}).get("path") or ""
    if payload is not None:
        return _Audio(payload, path)
    if not path:
        return _Audio(None, "", "the row has neither bytes nor a path of audio")
    folder = url.rpartition("/")[0]
    is_absolute = "://" in path or path.startswith("/")
    there = normalise(path) if is_absolute else join(folder, path)
    if ".." in path.split("/") or not there.startswith(f"{folder}/"):
        return _Audio(
            None,
            path,
            f"the row has no bytes, only the path `{path}`, which is not below the folder of the "
            "Parquet file: embed the audio, or list it",
        )
    try:
        return _Audio(storage.read_bytes(there), path)
    except InputError as error:
        if not isinstance(error, NotFoundError) and not isinstance(
            error.__cause__, IsADirectoryError
        ):
            raise
        return _Audio(
            None, path, f"the row has no bytes, and there is no file `{path}` beside the Parquet"
        )


def _without_suffix(path: str) -> str:
    """A path as a key: without the extension, and only the name where it was another machine's."""
    is_elsewhere = "://" in path or path.startswith("/") or ".." in path.split("/")
    name = path.rpartition("/")[2] if is_elsewhere else path
    suffix = PurePosixPath(name).suffix
    return name.removesuffix(suffix) if suffix[1:].lower() in AUDIO_EXTENSIONS else name


def _label(names: Sequence[str] | None, value: Any) -> Any:
    is_one = names is not None and isinstance(value, int) and 0 <= value < len(names)
    return names[value] if names is not None and is_one else value


def _plain(value: Any) -> Any:
    """The same value as JSON would have it."""
    match value:
        case dict():
            return {name: _plain(each) for name, each in value.items()}
        case list():
            return [_plain(each) for each in value]
        case datetime.datetime() | datetime.date() | datetime.time():
            return value.isoformat()
        case datetime.timedelta():
            return value.total_seconds()
        case decimal.Decimal():
            return float(value)
    return value
