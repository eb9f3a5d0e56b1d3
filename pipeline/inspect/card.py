"""A dataset card for a hub, made from an output: hours, languages, speakers, codec and columns."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.inspect.status import read_status
from pipeline.output.run_record import read_run_record
from pipeline.output.schema import COLUMN_MEANINGS, part_schema
from pipeline.read.dataset import find_parts
from pipeline.storage.client import Storage
from pipeline.storage.location import normalise
from xy_codec.codes_shape import CodesShape

_READERS = 8
_UNKNOWN = "unknown"
_SIZES = ("1K", "10K", "100K", "1M", "10M", "100M", "1B", "10B")
_BODY = """
# {title}

{hours:,.1f} hours of speech as codes: {clips:,} clips,
{num_languages} languages, {num_speakers:,} speakers.

- Codec: {codec[name]}, checkpoint sha256 `{codec[checkpoint_sha256]}`, precision {codec[precision]}
- Codes: {books}, {rate_hz:.5g} frames a second
- Shards: {shards} done; rejects: {rejects}; filtered: {filtered}; run `{run}`

## Languages

| language | clips | hours |
|---|---|---|
{languages}

## Columns

| column | type | meaning |
|---|---|---|
{columns}

## Reading it

With pyarrow and fsspec installed, `pip install --no-deps xytok` is enough:

```python
from xytok import open_dataset

for clip in open_dataset("OUT", num_codebooks={shape.num_codebooks}):  # OUT: its folder or URL
    print(clip.key, clip.codes.shape, clip.columns)
```
"""


@dataclass(frozen=True, slots=True)
class _Language:
    name: str
    clips: int
    seconds: float


def make_card(output: str, storage: Storage, *, licence: str, title: str) -> str:
    """The card as Markdown, with the header that hubs read."""
    from huggingface_hub import DatasetCard, DatasetCardData

    output = normalise(output)
    record = read_run_record(storage, output)
    status = read_status(output, storage)
    languages, num_speakers = _count_languages(find_parts(output, storage), storage)
    named = sorted(language.name for language in languages if language.name != _UNKNOWN)
    codec = record.identity["codec"]
    shape = CodesShape.of(codec)
    header = DatasetCardData(
        license=licence,
        pretty_name=title,
        language=named,
        task_categories=["text-to-speech"],
        size_categories=[size_category(status.codes)],
        configs=[{"config_name": "default", "data_files": "tokens/**/*.parquet"}],
    )
    body = _BODY.format(
        title=title,
        hours=status.hours,
        clips=status.codes,
        num_languages=len(named),
        num_speakers=num_speakers,
        codec=codec,
        shape=shape,
        books=shape.codebooks_in_words(),
        rate_hz=shape.frame_rate_hz,
        shards=status.done,
        rejects=sum(status.rejects.values()),
        filtered=status.filtered,
        run=status.identity8,
        languages="\n".join(
            f"| {language.name} | {language.clips:,} | {language.seconds / 3600:,.2f} |"
            for language in languages
        ),
        columns="\n".join(_column(each, shape) for each in part_schema(shape)),
    )
    return str(DatasetCard(f"---\n{header.to_yaml()}\n---\n{body}"))


def _count_languages(parts: Sequence[str], storage: Storage) -> tuple[list[_Language], int]:
    """The languages, that with most clips first, and how many speakers there are."""

    def read(part: str) -> Any:
        fs, path = storage.filesystem(part)
        with fs.open(path, "rb") as file:
            table: Any = pq.read_table(file, columns=["language", "speaker", "duration"])
        return _sums(table, ["language", "speaker"], ("duration", "count"), ("duration", "sum"))

    with ThreadPoolExecutor(_READERS) as pool:
        found: Any = pa.concat_tables(list(pool.map(read, parts)))
    sums = ("duration_count", "sum"), ("duration_sum", "sum")
    languages = [
        _Language(row["language"] or _UNKNOWN, row["duration_count_sum"], row["duration_sum_sum"])
        for row in _sums(found, ["language"], *sums).to_pylist()
    ]
    known = found.filter(pc.is_valid(found["speaker"]))
    num_speakers = int(_sums(known, ["language", "speaker"], *sums).num_rows)
    return sorted(languages, key=lambda language: -language.clips), num_speakers


def _sums(table: Any, keys: list[str], *sums: tuple[str, str]) -> Any:
    return table.group_by(keys).aggregate(list(sums))


def size_category(num_clips: int) -> str:
    """How hubs name a number of clips, e.g. `10K<n<100K`."""
    digits = len(str(num_clips))
    return "n<1K" if digits < 4 else f"{_SIZES[digits - 4]}<n<{_SIZES[digits - 3]}"


def _column(column: Any, shape: CodesShape) -> str:
    kind = f"{column.type}, may be null" if column.nullable else str(column.type)
    if column.name == "codes":
        kind = f"list of {shape.num_codebooks} lists of {shape.dtype}, one per codebook"
    return f"| `{column.name}` | {kind} | {COLUMN_MEANINGS[column.name]} |"
