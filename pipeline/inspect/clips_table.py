"""The clips of an output in one table without their codes, `index/clips.parquet`, open to SQL.

`xytok index --clips` writes it anew from the parts: hours, speakers, languages and equal audio can
then be asked for without a request for each part. Equal parts and drops give equal bytes.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.output.dropped import Dropped, read_dropped
from pipeline.output.index import read_shards
from pipeline.output.parquet_file import ParquetFile
from pipeline.output.retries import finished_in
from pipeline.output.run_record import read_run_record
from pipeline.read.part_reader import open_part, reading_part
from pipeline.storage.client import Storage
from pipeline.storage.location import join, normalise

CLIPS = "index/clips.parquet"
_OF_PARTS = (
    *("key", "num_frames", "duration", "sample_rate", "speaker", "language", "dnsmos", "shard"),
    "audio_xxh64",
)
_FIELDS: list[Any] = [
    pa.field("key", pa.string(), nullable=False),
    pa.field("num_frames", pa.int32(), nullable=False),
    pa.field("duration", pa.float64(), nullable=False),
    pa.field("sample_rate", pa.int32(), nullable=False),
    pa.field("speaker", pa.string()),
    pa.field("language", pa.string()),
    pa.field("dnsmos", pa.float64()),
    pa.field("shard", pa.string(), nullable=False),
    pa.field("audio_xxh64", pa.uint64(), nullable=False),
    pa.field("part", pa.string(), nullable=False),
    pa.field("row", pa.int32(), nullable=False),
    # Why `xytok drop` took the clip out; null where it did not.
    pa.field("dropped", pa.string()),
]
CLIPS_SCHEMA = pa.schema(_FIELDS)
_DICTIONARY_COLUMNS = ("sample_rate", "speaker", "language", "dnsmos", "shard", "part", "dropped")
_READERS = 16
_PARTS_AT_A_TIME = 64
_GROUP_ROWS = 1 << 17


@dataclass(frozen=True, slots=True)
class ClipsSummary:
    """What a table of clips holds; `same_audio` are clips with the audio of an earlier one."""

    clips: int
    hours: float
    speakers: int
    languages: int
    same_audio: int
    dropped: int
    size_bytes: int


def write_clips(
    storage: Storage, output: str, show: Callable[[int], None] = lambda _: None
) -> ClipsSummary:
    """Write the table; `show` is called with the number of parts so far.

    For each clip 8 bytes are held, and the names of all speakers.
    """
    output = normalise(output)
    dropped = read_dropped(storage, output)
    hashes: list[Any] = []
    names: dict[str, set[str]] = {"speaker": set(), "language": set()}
    seconds = 0.0
    with closing(ParquetFile(CLIPS_SCHEMA, _DICTIONARY_COLUMNS, {})) as file:
        for table in _grouped(_tables(storage, output, dropped, show)):
            file.add_row_group(table)
            hashes.append(table["audio_xxh64"].to_numpy())
            seconds += float(pc.sum(table["duration"]).as_py() or 0.0)
            for name, found in names.items():
                found.update(pc.unique(table[name]).drop_null().to_pylist())
        written = file.publish(storage, output, CLIPS)
    return ClipsSummary(
        clips=written.rows,
        hours=seconds / 3600,
        speakers=len(names["speaker"]),
        languages=len(names["language"]),
        same_audio=written.rows - len(np.unique(np.concatenate(hashes))) if hashes else 0,
        dropped=dropped.num_clips,
        size_bytes=written.size_bytes,
    )


def _tables(
    storage: Storage, output: str, dropped: Dropped, show: Callable[[int], None]
) -> Iterator[Any]:
    """The clips of each part, in the order of the parts' paths, those of retries last."""
    parts: list[str] = []
    record = read_run_record(storage, output)
    for place, names in finished_in(storage, output, record.identity8):
        own: list[str] = []
        for shards in read_shards(storage, place.url, names, ("part_path",)):
            own += (f"{place.prefix}{path}" for path in shards["part_path"].to_pylist())
        parts += sorted(own)
    with ThreadPoolExecutor(_READERS) as pool:
        # A few parts at a time: those that are read wait for the file in memory.
        for start in range(0, len(parts), _PARTS_AT_A_TIME):
            some = parts[start : start + _PARTS_AT_A_TIME]
            yield from pool.map(lambda part: _clips_of(storage, output, part, dropped), some)
            show(start + len(some))


def _clips_of(storage: Storage, output: str, part: str, dropped: Dropped) -> Any:
    url = join(output, part)
    with open_part(storage, url) as file:
        table: Any = reading_part(storage, url, lambda: file.read(columns=list(_OF_PARTS)))
    reasons = {key: row["reason"] for key, row in dropped.by_part.get(part, {}).items()}
    gone = [reasons.get(key) for key in table["key"].to_pylist()] if reasons else None
    further = {
        "part": pa.array([part] * table.num_rows, pa.string()),
        "row": pa.array(np.arange(table.num_rows, dtype=np.int32)),
        "dropped": pa.nulls(table.num_rows, pa.string()) if gone is None else pa.array(gone),
    }
    for name, values in further.items():
        table = table.append_column(name, values)
    return table.select(CLIPS_SCHEMA.names).cast(CLIPS_SCHEMA)


def _grouped(tables: Iterator[Any]) -> Iterator[Any]:
    """The same rows in tables of one size, which do not depend on the parts."""
    waiting: list[Any] = []
    num_rows = 0
    for table in tables:
        waiting.append(table)
        num_rows += table.num_rows
        while num_rows >= _GROUP_ROWS:
            whole: Any = pa.concat_tables(waiting).combine_chunks()
            yield whole.slice(0, _GROUP_ROWS)
            waiting, num_rows = [whole.slice(_GROUP_ROWS)], num_rows - _GROUP_ROWS
    if num_rows:
        yield pa.concat_tables(waiting).combine_chunks()
