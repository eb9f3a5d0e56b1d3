"""Reads the rows of parts in order, from any row on, without reading row groups before it.

It needs pyarrow and fsspec, and no other dependency of this project.
"""

import itertools
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import InputError, UsageError
from pipeline.output.parquet_layout import IDENTITY_KEY
from pipeline.storage.client import Storage
from pipeline.storage.location import redact
from pipeline.storage.retries import with_retries

COMPARISONS = ("==", "=", "!=", "<", "<=", ">", ">=", "in", "not in")
# Column, comparison and value; a row without a value in the column never fits.
Condition = tuple[str, str, Any]
# Arrow reports damaged bytes as an `OSError` like any other; these words tell them from a failed
# read, which is tried again.
_DAMAGE = ("decompress", "thrift", "corrupt", "unexpected end of stream", "magic bytes")

# The letter of a code's type in a memoryview, by its bytes.
_LETTERS: dict[int, Literal["h", "i"]] = {2: "h", 4: "i"}


@dataclass(frozen=True, slots=True)
class CodesRow:
    """One clip: its codes as a buffer of shape `[K, T]`, and the columns asked for.

    The buffer holds int16, or int32 where a codebook has more entries than int16 can name.
    `numpy.asarray(row.codes)` and `torch.asarray` take the buffer as it is.
    """

    key: str
    codes: memoryview
    columns: dict[str, Any]


@dataclass(frozen=True, slots=True)
class PartStream:
    """Reads the rows that fit `where`, with these columns and the first codebooks.

    A part whose footer names another codec than that of the `reference` part is refused.
    """

    storage: Storage
    columns: Sequence[str]
    num_codebooks: int | None
    where: Sequence[Condition]
    reference: str

    def rows(self, parts: Sequence[str], skip: int) -> Iterator[CodesRow]:
        """The rows of all parts, in order, without the first `skip` that pass the filter."""
        if not parts:
            return
        reference = self._open(self.reference)
        for url in parts:
            file = reference if url == self.reference else self._open(url)
            self._check_codec(url, self._codec_of(file), self._codec_of(reference))
            for group in range(file.num_row_groups):
                count = self._count(file, group, url) if skip else 0
                if skip and count <= skip:
                    skip -= count
                    continue
                yield from list(self._read(file, group, url))[skip:]
                skip = 0

    def _open(self, url: str) -> Any:
        def open_file() -> Any:
            fs, path = self.storage.filesystem(url)
            return pq.ParquetFile(fs.open(path, "rb"), pre_buffer=True)

        file = self._reading(url, open_file)
        missing = sorted(
            {*self.columns, *(column for column, _, _ in self.where)} - set(file.schema_arrow.names)
        )
        if missing:
            raise UsageError(
                f"Part `{redact(url)}` has no column {', '.join(f'`{name}`' for name in missing)}; "
                f"expected some of {', '.join(file.schema_arrow.names)}; ask for those"
            )
        return file

    def _count(self, file: Any, group: int, url: str) -> int:
        if not self.where:
            return int(file.metadata.row_group(group).num_rows)
        table = self._read_group(file, group, url, [])
        return int(self._filtered(table).num_rows)

    def _read(self, file: Any, group: int, url: str) -> Iterator[CodesRow]:
        table = self._read_group(file, group, url, ["key", "codes", *self.columns])
        for batch in self._filtered(table).to_batches():
            yield from self._unpack(batch)

    def _filtered(self, table: Any) -> Any:
        if not self.where:
            return table
        conditions: list[Any] = list(self.where)
        return table.filter(pq.filters_to_expression(conditions))

    def _read_group(self, file: Any, group: int, url: str, columns: list[str]) -> Any:
        names = list(dict.fromkeys([*columns, *(column for column, _, _ in self.where)]))

        def read() -> Any:
            return file.read_row_group(group, columns=names, use_threads=False)

        return self._reading(url, read)

    def _reading(self, url: str, read: Callable[[], Any]) -> Any:
        return reading_part(self.storage, url, read)

    def _check_codec(self, url: str, codec: str | None, expected: str | None) -> None:
        if None not in (codec, expected) and codec != expected:
            raise InputError(
                f"Part `{redact(url)}` was made with codec {codec}, the first part with "
                f"{expected}; expected one codec with the same options, because equal codes of two "
                "codecs are different sounds. Open each output by itself, or, where only the "
                "depth differs, pass `num_codebooks`"
            )

    def _codec_of(self, file: Any) -> str | None:
        """The codec of a part, with its depth unless the first codebooks alone are read."""
        return codec_of(file, with_depth=self.num_codebooks is None)

    def _unpack(self, batch: Any) -> Iterator[CodesRow]:
        matrices = unpack_codes(batch.column("codes"), self.num_codebooks)
        rows = batch.select(list(self.columns)).to_pylist()
        keys = batch.column("key").to_pylist()
        for key, matrix, columns in zip(keys, matrices, rows, strict=True):
            yield CodesRow(key, matrix, columns)


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
                f"{wanted} codebooks are asked for, but the part has {last - first}; expected "
                "at most that many; lower `num_codebooks`"
            )
        start, end = books[first], books[first + wanted]
        copied = memoryview(bytes(content[start * size : end * size]))
        yield copied.cast(_LETTERS[size], shape=[wanted, (end - start) // wanted])


def _values_buffer(values: Any) -> Any:
    return values.buffers()[1] or pa.py_buffer(b"")
