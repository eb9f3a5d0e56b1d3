"""Which rows of a run the keep list of an audit keeps, by row group; lists of others are refused.

A row that the list does not mention was not judged, and is left out.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import UsageError
from pipeline.export.source import Group, SourcePart
from pipeline.plural import plural
from pipeline.read.keep_list import KeepList
from pipeline.storage.client import Storage
from pipeline.storage.location import redact

UNLISTED = -1


class KeptRows:
    """The rows of the part that was asked for last."""

    def __init__(self, storage: Storage, url: str, parts: Sequence[SourcePart]) -> None:
        self._url = url
        self._list = KeepList(storage, url, ("row", "key", "keep"))
        self._list.refuse_strangers({name for part in parts for name in _names_of(part)})
        self._shard = ""
        self._keep: NDArray[np.int8] = np.zeros(0, np.int8)
        self._keys: dict[int, str] = {}

    def of_group(self, part: SourcePart, group: Group, keys: Sequence[str]) -> NDArray[np.int8]:
        """For each row of a group 1 where it is kept, 0 where not, and `UNLISTED`."""
        if part.shard != self._shard:
            self._load(part)
        for row, key in enumerate(keys, start=group.first_row):
            if self._keys.get(row, key) != key:
                raise UsageError(
                    f"`--keep {redact(self._url)}` belongs to another run: it has the key "
                    f"`{self._keys[row]}` in row {row} of `{part.shard}`, the part has `{key}`; "
                    "expected a list of this run; audit it again, or pass the list of its audit"
                )
        return self._keep[group.first_row : group.first_row + group.rows]

    def _load(self, part: SourcePart) -> None:
        table = self._list.of_shard(_names_of(part), lambda: part.sha256)
        rows = table["row"].to_numpy()
        outside = rows[(rows < 0) | (rows >= part.rows)]
        if len(outside):
            raise UsageError(
                f"`--keep {redact(self._url)}` belongs to another run: it has row {outside[0]} of "
                f"`{part.shard}`, whose part has {plural(part.rows, 'row')}; expected a list of "
                "this run; audit it again"
            )
        self._keep = np.full(part.rows, UNLISTED, np.int8)
        self._keep[rows] = table["keep"].to_numpy(zero_copy_only=False).astype(np.int8)
        self._keys = dict(zip(rows.tolist(), table["key"].to_pylist(), strict=True))
        self._shard = part.shard


def _names_of(part: SourcePart) -> list[str]:
    """Lists name shards by their paths, or by their URLs as parts do."""
    return [part.shard, part.shard_url]
