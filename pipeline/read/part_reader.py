"""Reads row groups of parts, any of them directly; it needs pyarrow and fsspec alone."""

import itertools
import json
from array import array
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import InputError, UsageError
from pipeline.output.parquet_layout import IDENTITY_KEY
from pipeline.plural import plural
from pipeline.storage.client import Storage
from pipeline.storage.location import redact
from pipeline.storage.retries import with_retries

# Arrow reports damaged bytes as an `OSError` like any other; these words tell them from a failed
# read, which is tried again.
_DAMAGE = ("decompress", "thrift", "corrupt", "unexpected end of stream", "magic bytes")
# The letter of a code's type in a memoryview, by its bytes.
_LETTERS: dict[int, Literal["h", "i"]] = {2: "h", 4: "i"}
_MOST_OPEN = 32


@dataclass(frozen=True, slots=True)
class CodesRow:
    """One clip: its codes as a buffer of shape `[K, T]`, and the columns asked for.

    The buffer holds int16, or int32 where a codebook has more entries than int16 can name.
    `numpy.asarray(row.codes)` and `torch.asarray` take the buffer as it is.
    """

    key: str
    codes: memoryview
    columns: dict[str, Any]


@dataclass(slots=True)
class PartReader:
    """Reads rows with these columns and the first codebooks; keeps some parts open."""

    storage: Storage
    columns: Sequence[str]
    num_codebooks: int | None
    _open: OrderedDict[str, Any] = field(default_factory=OrderedDict)

    def read(self, url: str, group: int, rows: "array[int] | None", first: int, last: int) -> Any:
        """Rows `first` to `last` of those that fit in a row group; all fit without `rows`."""
        file = self._file(url)
        names = list(dict.fromkeys(["key", "codes", *self.columns]))

        def read() -> Any:
            return file.read_row_group(group, columns=names, use_threads=False)

        table = reading_part(self.storage, url, read)
        if rows is None:
            return table.slice(first, last - first)
        return table.take(pa.array(rows[first:last], pa.int32()))

    def unpack(self, table: Any) -> Iterator[CodesRow]:
        """The clips of a table."""
        for batch in table.combine_chunks().to_batches():
            matrices = unpack_codes(batch.column("codes"), self.num_codebooks)
            rows = batch.select(list(self.columns)).to_pylist()
            keys = batch.column("key").to_pylist()
            for key, matrix, columns in zip(keys, matrices, rows, strict=True):
                yield CodesRow(key, matrix, columns)

    def _file(self, url: str) -> Any:
        if url not in self._open:
            self._open[url] = open_part(self.storage, url)
            if len(self._open) > _MOST_OPEN:
                self._open.popitem(last=False)[1].close()
        self._open.move_to_end(url)
        return self._open[url]


def open_part(storage: Storage, url: str) -> Any:
    """The Parquet file of a part."""

    def open_file() -> Any:
        fs, path = storage.filesystem(url)
        return pq.ParquetFile(fs.open(path, "rb"), pre_buffer=True)

    return reading_part(storage, url, open_file)


def reading_part(storage: Storage, url: str, read: Callable[[], Any]) -> Any:
    """What `read` gives, tried again where storage fails; damaged bytes are named and not."""

    def read_whole() -> Any:
        try:
            return read()
        except (pa.ArrowInvalid, OSError) as error:
            if any(word in str(error).lower() for word in _DAMAGE):
                raise InputError(
                    f"Part `{redact(url)}` is damaged ({error}); expected the bytes that were "
                    "written; `xytok verify` names every damaged part of an output"
                ) from error
            raise

    return with_retries(read_whole, f"reading `{redact(url)}`", storage.policy_for(url))


def codec_of(file: Any, *, with_depth: bool) -> str | None:
    """The codec that made a part: name, checkpoint, options; None when its footer has none."""
    identity = (file.schema_arrow.metadata or {}).get(IDENTITY_KEY)
    codec = json.loads(identity).get("codec") if identity else None
    if not codec:
        return None
    facts = [codec["checkpoint_sha256"][:12], *_options_of(codec, with_depth=with_depth)]
    return f"`{codec['name']}` ({', '.join(facts)})"


def _options_of(codec: dict[str, Any], *, with_depth: bool) -> list[str]:
    """The options of a recorded codec; format 1 had the overlap beside all codebooks."""
    first_format = {
        "overlap_seconds": codec.get("overlap_seconds"),
        "depth": codec.get("num_codebooks"),
    }
    options = codec.get("options", first_format)
    return [
        f"{name} {value:g}" if isinstance(value, int | float) else f"{name} {value}"
        for name, value in sorted(options.items())
        if value is not None and (with_depth or name != "depth")
    ]


def unpack_codes(column: Any, num_codebooks: int | None) -> Iterator[memoryview]:
    """The first codebooks of every row `[K, T]`, copied out of the batch."""
    clips = column.offsets.to_pylist()
    books = column.values.offsets.to_pylist()
    values = column.values.values
    size = values.type.bit_width // 8
    content = memoryview(_values_buffer(values))[values.offset * size :]
    for first, last in itertools.pairwise(clips):
        wanted = last - first if num_codebooks is None else num_codebooks
        if wanted > last - first:
            raise UsageError(
                f"{plural(wanted, 'codebook is', 'codebooks are')} asked for, but the part has "
                f"{last - first}; expected at most that many; lower `num_codebooks`"
            )
        start, end = books[first], books[first + wanted]
        copied = memoryview(bytes(content[start * size : end * size]))
        yield copied.cast(_LETTERS[size], shape=[wanted, (end - start) // wanted])


def _values_buffer(values: Any) -> Any:
    return values.buffers()[1] or pa.py_buffer(b"")
