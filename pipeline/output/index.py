"""The index of an output, `index/shards.parquet`: what all manifests say, one table row a shard.

`xytok index` writes it, and `tokenize` at its end. Tools that read an output take from it what they
would otherwise read from a manifest for each shard. The listing of manifests stays the truth about
what is done: a row of the index counts only while a manifest of its name and size is listed, and
manifests that the index does not know are read. With an old index, or none, tools are slower but
never wrong. Equal manifests give an index of equal bytes. The columns are in `index_table.py`.
"""

import io
import logging
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import NotFoundError, PipelineError, what_happened
from pipeline.output.index_table import (
    DICTIONARY_COLUMNS,
    INDEX_SCHEMA,
    KEY,
    SIZE,
    index_rows,
)
from pipeline.output.manifest import (
    UNKNOWN_SIZE,
    ManifestName,
    list_manifests,
    read_named_manifests,
)
from pipeline.output.parquet_file import ParquetFile
from pipeline.storage.client import Storage
from pipeline.storage.location import join, redact

logger = logging.getLogger(__name__)
INDEX = "index/shards.parquet"
# Rows of a row group; as many manifests are held in memory at a time.
ROW_GROUP_ROWS = 4096
_TELL_FROM = 1000  # manifests to read, which take some seconds


@dataclass(frozen=True, slots=True)
class IndexSummary:
    """What an index holds, and how many of its manifests had to be read."""

    shards: int
    read: int
    size_bytes: int


def write_index(
    storage: Storage,
    output: str,
    names: Sequence[ManifestName] | None = None,
    *,
    rebuild: bool = False,
    show: Callable[[int], None] = lambda _: None,
) -> IndexSummary:
    """Bring the index up to date with the manifests, which are listed unless `names` has them.

    Args:
        rebuild: Read every manifest, also those that the present index knows.
        show: Is called with the number of shards so far.
    """
    names = list_manifests(storage, output) if names is None else names
    columns = INDEX_SCHEMA.names
    groups = iter(()) if rebuild else _row_groups(storage, output, columns)
    file = ParquetFile(INDEX_SCHEMA, DICTIONARY_COLUMNS, {})
    shards = num_read = 0
    with closing(file):
        for table, read in _tables(storage, output, names, _KnownShards(groups), columns):
            file.add_row_group(table)
            shards, num_read = shards + table.num_rows, num_read + read
            show(shards)
        written = file.publish(storage, output, INDEX)
    return IndexSummary(shards, num_read, written.size_bytes)


def update_index(storage: Storage, output: str) -> None:
    """Write the index for a run; a failure is only logged, because tools do without."""
    try:
        write_index(storage, output)
    except PipelineError as error:
        logger.warning(
            "The index of `%s` was not written (%s); the run is whole without it; write it with "
            "`xytok index`",
            redact(output),
            what_happened(error),
        )


def forget_shards(storage: Storage, output: str, names: Iterable[ManifestName]) -> None:
    """Take shards without a manifest out of the index before they are done again.

    The new manifest may have the size of the old one, such as when only a version in the part is
    another; the old row would then count.
    """
    groups = _row_groups(storage, output, [KEY])
    known = {path for table in groups for path in table[KEY].to_pylist()}
    if any(name.path in known for name in names):
        update_index(storage, output)


def read_shards(
    storage: Storage, output: str, names: Sequence[ManifestName], columns: Sequence[str]
) -> Iterator[pa.Table]:
    """These columns of the shards with these manifests, some thousand rows at a time.

    Rows are in the order of the paths of their manifests.
    """
    wanted = list(dict.fromkeys((KEY, SIZE, *columns)))
    known = _KnownShards(_row_groups(storage, output, wanted))
    num_read = 0
    for table, read in _tables(storage, output, names, known, wanted):
        if num_read < _TELL_FROM <= num_read + read:
            logger.info(
                "Reading manifests one by one: the index of `%s` does not know them; "
                "`xytok index` puts them there",
                redact(output),
            )
        num_read += read
        yield table.select(list(columns))


class _KnownShards:
    """The rows of an index, which are asked for in the order in which they stand."""

    def __init__(self, groups: Iterator[pa.Table]) -> None:
        self._groups = groups
        self._ahead: pa.Table | None = next(groups, None)

    def take(self, names: Sequence[ManifestName]) -> list[pa.Table]:
        """The rows of those of these manifests that are known; every call asks for later ones."""
        listed = {name.path: name.size_bytes for name in names}
        found = []
        while self._ahead is not None:
            rows: Any = self._ahead
            keys, sizes = rows[KEY].to_pylist(), rows[SIZE].to_pylist()
            passed = bisect_right(keys, names[-1].path)
            kept = [n for n in range(passed) if listed.get(keys[n]) in (sizes[n], UNKNOWN_SIZE)]
            found.append(rows.take(pa.array(kept, pa.int64())))
            if passed < len(keys):
                self._ahead = rows.slice(passed)
                break
            self._ahead = next(self._groups, None)
        return found


def _tables(
    storage: Storage,
    output: str,
    names: Sequence[ManifestName],
    known: _KnownShards,
    columns: Sequence[str],
) -> Iterator[tuple[pa.Table, int]]:
    """The rows of a row group, sorted, and how many of them come from manifests."""
    ordered = sorted(names, key=lambda name: name.path)
    for start in range(0, len(ordered), ROW_GROUP_ROWS):
        wanted = ordered[start : start + ROW_GROUP_ROWS]
        found = known.take(wanted)
        paths = {path for table in found for path in table[KEY].to_pylist()}
        unknown = [name for name in wanted if name.path not in paths]
        if unknown:
            manifests = read_named_manifests(storage, output, unknown)
            found.append(index_rows(unknown, manifests).select(list(columns)))
        # One chunk a column: where chunks end would change the bytes of the file.
        table: Any = pa.concat_tables(found)
        yield table.sort_by(KEY).combine_chunks(), len(unknown)


def _row_groups(storage: Storage, output: str, columns: Sequence[str]) -> Iterator[pa.Table]:
    """The row groups of the index, none where there is no index that this version can read."""
    try:
        # Read whole: another command may replace it meanwhile.
        content = storage.read_bytes(join(output, INDEX))
    except NotFoundError:
        return
    try:
        file: Any = pq.ParquetFile(io.BytesIO(content))
        if file.schema_arrow.equals(INDEX_SCHEMA):
            for group in range(file.num_row_groups):
                yield file.read_row_group(group, columns=list(columns))
    except (pa.ArrowException, OSError) as error:
        logger.warning(
            "The index of `%s` cannot be read (%s): manifests are read instead; `xytok index` "
            "writes it again",
            redact(output),
            error,
        )
