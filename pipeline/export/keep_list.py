"""The keep list of an audit: a Parquet with `shard`, `row`, `key`, `keep` and `reason` of each row.

A row that the list does not mention was not judged, and is left out.
"""

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pipeline.errors import InputError
from pipeline.export.source import Group, SourcePart
from pipeline.read.part_reader import reading_part
from pipeline.storage.client import Storage
from pipeline.storage.location import is_local, redact
from pipeline.storage.streams import ByteStream, local_blocks, remote_blocks

_COLUMNS = ("shard", "row", "key", "keep")
_BLOCK_BYTES = 4 << 20
UNLISTED = -1


class KeepList:
    """The rows of one part at a time; a list that is sorted by shard is read once."""

    def __init__(self, storage: Storage, url: str) -> None:
        self._storage = storage
        self._url = url
        self._shard = ""
        self._keep: NDArray[np.int8] = np.zeros(0, np.int8)
        self._keys: dict[int, str] = {}
        missing = sorted(set(_COLUMNS) - set(self._read(lambda file: pq.read_schema(file).names)))
        if missing:
            raise InputError(
                f"`--keep {redact(url)}` has no column {', '.join(missing)}; expected a Parquet "
                f"file with {', '.join(_COLUMNS)}, as `xytok audit` writes it; pass that file"
            )

    def sha256(self) -> str:
        """The hash of the file."""
        blocks = (
            local_blocks(self._url)
            if is_local(self._url)
            else remote_blocks(self._storage.file_info(self._url), self._storage)
        )
        stream, found = ByteStream(blocks, self._url), hashlib.sha256()
        while block := stream.take(_BLOCK_BYTES):
            found.update(block)
        return found.hexdigest()

    def of_group(self, part: SourcePart, group: Group, keys: Sequence[str]) -> NDArray[np.int8]:
        """For each row of a group 1 where it is kept, 0 where not, and `UNLISTED`."""
        if part.shard != self._shard:
            self._load(part)
        for row, key in enumerate(keys, start=group.first_row):
            if self._keys.get(row, key) != key:
                raise InputError(
                    f"`--keep {redact(self._url)}` has the key `{self._keys[row]}` in row {row} of "
                    f"`{part.shard}`, the part has `{key}`; expected a list of this run; audit it "
                    "again, or pass the list that belongs to it"
                )
        return self._keep[group.first_row : group.first_row + group.rows]

    def _load(self, part: SourcePart) -> None:
        # Shards go by their path, or by their URL as in the parts.
        wanted: Any = [("shard", "in", [part.shard, part.shard_url])]
        table = self._read(lambda file: pq.read_table(file, columns=list(_COLUMNS), filters=wanted))
        rows = table["row"].to_numpy()
        outside = rows[(rows < 0) | (rows >= part.rows)]
        if len(outside):
            raise InputError(
                f"`--keep {redact(self._url)}` has row {outside[0]} of `{part.shard}`, whose part "
                f"has {part.rows} rows; expected a list of this run; audit it again"
            )
        self._keep = np.full(part.rows, UNLISTED, np.int8)
        self._keep[rows] = table["keep"].to_numpy(zero_copy_only=False).astype(np.int8)
        self._keys = dict(zip(rows.tolist(), table["key"].to_pylist(), strict=True))
        self._shard = part.shard

    def _read(self, read: Any) -> Any:
        def open_and_read() -> Any:
            fs, path = self._storage.filesystem(self._url)
            with fs.open(path, "rb") as file:
                return read(file)

        return reading_part(self._storage, self._url, open_and_read)
