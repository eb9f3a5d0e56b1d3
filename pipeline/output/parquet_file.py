"""A Parquet file under construction: its settings, its footer, its hash, and how it is published.

Parts (`part.py`), reject files (`rejects.py`) and the index (`index.py`) are written through it.
Nothing is visible in the output before `publish`. Equal rows give equal bytes: the footer names no
host and no time.
"""

import hashlib
import io
import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib import metadata
from pathlib import Path
from typing import IO, Any, cast

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.corpus.shard import Shard
from pipeline.errors import NodeError
from pipeline.output.identity import RunIdentity
from pipeline.output.manifest import WrittenFile
from pipeline.output.parquet_layout import IDENTITY_KEY, PROVENANCE_KEY, ZSTD_LEVEL
from pipeline.output.schema import SCHEMA_VERSION
from pipeline.storage.client import Storage
from pipeline.storage.location import join

# A larger file moves from memory to the local disk while it grows.
_MEMORY_BYTES = 64 << 20
_PARTS = ("for unfinished parts cannot be written", "two parts of the largest shards")


class UnfinishedFile(io.RawIOBase):
    """A write-only file that is hashed as it grows; `close` frees its memory and disk."""

    def __init__(self) -> None:
        super().__init__()
        self._file: IO[bytes] | None = io.BytesIO()
        self._path: Path | None = None
        self._sha256 = hashlib.sha256()
        self.size_bytes = 0

    def writable(self) -> bool:
        """Whether `write` works: yes; pyarrow asks."""
        return True

    def write(self, content: Any) -> int:
        """Append bytes; after `close` they go nowhere."""
        view = memoryview(content).cast("B")
        if self._file is None:
            return len(view)
        with on_this_disk(*_PARTS):
            if self._path is None and self.size_bytes + len(view) > _MEMORY_BYTES:
                self._move_to_disk()
            self._file.write(view)
        self._sha256.update(view)
        self.size_bytes += len(view)
        return len(view)

    def tell(self) -> int:
        """How many bytes were written."""
        return self.size_bytes

    def content(self) -> bytes | Path:
        """The whole content, or the local file that holds it."""
        if self._path is not None:
            assert self._file is not None
            with on_this_disk(*_PARTS):
                self._file.flush()
            return self._path
        assert isinstance(self._file, io.BytesIO)
        return self._file.getvalue()

    @property
    def sha256(self) -> str:
        """The hash of everything written, in hexadecimal."""
        return self._sha256.hexdigest()

    def publish(self, storage: Storage, folder: str, path: str, rows: int) -> WrittenFile:
        """Put the finished file at its path below a folder; return what proves it is whole."""
        storage.write_finished(join(folder, path), self.content())
        return WrittenFile(path, self.size_bytes, self.sha256, rows)

    def close(self) -> None:
        """Free the memory and delete the local file."""
        super().close()
        file, self._file = self._file, None
        # On a full disk, closing fails for bytes that nobody wants any more.
        if file is not None:
            with suppress(OSError):
                file.close()
        if self._path is not None:
            self._path.unlink(missing_ok=True)

    def _move_to_disk(self) -> None:
        assert isinstance(self._file, io.BytesIO)
        # The file needs a name because object stores upload large files by name.
        disk = tempfile.NamedTemporaryFile(prefix="xytok-", suffix=".spill", delete=False)  # noqa: SIM115
        memory, self._file, self._path = self._file, disk, Path(disk.name)
        disk.write(memory.getbuffer())


@contextmanager
def on_this_disk(use: str, room: str) -> Iterator[None]:
    """Blame the node for a temporary folder that is full or broken, not the data."""
    try:
        yield
    except OSError as error:
        raise NodeError(
            f"The folder `{tempfile.gettempdir()}` {use} ({error}); expected room for {room}; free "
            "the disk of this node, or name another folder by TMPDIR"
        ) from error


def parquet_writer(
    file: UnfinishedFile,
    schema: Any,
    dictionary_columns: Sequence[str],
    footer_facts: Mapping[bytes, bytes],
) -> Any:
    """The writer that gives every file of an output its settings."""
    return pq.ParquetWriter(
        pa.PythonFile(file, mode="w"),
        schema.with_metadata(dict(footer_facts)),
        compression="zstd",
        compression_level=ZSTD_LEVEL,
        use_dictionary=cast(Any, list(dictionary_columns)),
        write_page_index=True,
        version="2.6",
    )


class ParquetFile:
    """Builds one Parquet file table by table, then puts it into the output."""

    def __init__(
        self, schema: Any, dictionary_columns: Sequence[str], footer_facts: Mapping[bytes, bytes]
    ) -> None:
        self._content = UnfinishedFile()
        self._rows = 0
        self._writer = parquet_writer(self._content, schema, dictionary_columns, footer_facts)

    def add_row_group(self, table: pa.Table) -> None:
        """Append a table as one row group."""
        self._writer.write_table(table)
        self._rows += table.num_rows

    def publish(self, storage: Storage, output: str, path: str) -> WrittenFile:
        """Put the finished file at its path below the output; return what proves it is whole."""
        self._writer.close()
        return self._content.publish(storage, output, path, self._rows)

    def close(self) -> None:
        """Free memory and disk, whether the file was published or not."""
        self._content.close()
        # An open writer writes its footer when it is closed, at the latest as garbage.
        if self._writer.is_open:
            self._writer.close()


def footer(identity: RunIdentity, shard: Shard) -> dict[bytes, bytes]:
    """How the file was made, for the Parquet footer: the run's identity and the source shard."""
    provenance = {
        "xytok": metadata.version("xytok"),
        "schema_version": SCHEMA_VERSION,
        "shard": shard.path,
        "source_size_bytes": shard.size_bytes,
        "source_etag": shard.etag,
    }
    return {
        IDENTITY_KEY: identity.to_json().encode(),
        PROVENANCE_KEY: json.dumps(provenance, sort_keys=True).encode(),
    }


def arrow_table(columns: Mapping[str, Any], schema: Any) -> pa.Table:
    """The table of these columns, each converted to the type that the schema gives it."""
    arrays = [
        value if isinstance(value, pa.Array) else pa.array(value, field.type)
        for field in schema
        for value in (columns[field.name],)
    ]
    return pa.Table.from_arrays(arrays, schema=schema)
