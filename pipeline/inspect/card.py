"""A dataset card for a hub, made from an output: hours, languages, speakers, codec and columns."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import chain
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.errors import InputError
from pipeline.inspect.status import SUMMED_COLUMNS, ShardSums
from pipeline.output.dropped import DROPPED, Dropped, read_dropped
from pipeline.output.index import read_shards
from pipeline.output.manifest import LanguageCount, ManifestName, list_manifests
from pipeline.output.retries import RETRIES, finished_in
from pipeline.output.run_record import read_run_record
from pipeline.output.schema import COLUMN_MEANINGS, part_schema
from pipeline.plural import plural
from pipeline.storage.client import Storage
from pipeline.storage.location import join, normalise, redact
from xy_codec.codes_shape import CodesShape

_READERS = 8
_UNKNOWN = "unknown"
_COLUMNS = (*SUMMED_COLUMNS, "part_path", "languages")
_SIZES = ("1K", "10K", "100K", "1M", "10M", "100M", "1B", "10B")
_BODY = """
# {title}

{hours:,.1f} hours of speech as codes: {clips},
{num_languages}, {num_speakers} (one who is in several shards counts in each).

- Codec: {codec[name]}, checkpoint sha256 `{codec[checkpoint_sha256]}`, precision {codec[precision]}
- Codes: {books}, {rate_hz:.5g} frames a second
- Shards: {shards} done; rejects: {rejects}; filtered: {filtered}; dropped: {dropped}; run `{run}`

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


def make_card(output: str, storage: Storage, *, licence: str, title: str) -> str:
    """The card as Markdown, with the header that hubs read."""
    from huggingface_hub import DatasetCard, DatasetCardData

    output = normalise(output)
    record = read_run_record(storage, output)
    names = list_manifests(storage, output, record.identity8)
    if not names:
        raise InputError(
            f"`{redact(output)}` has no finished shard to describe; expected at least one; wait "
            "for one, or look at `xytok status`"
        )
    sums, languages = _add_up(output, storage, names)
    retried = 0
    for place, more in finished_in(storage, output, record.identity8):
        if not place.prefix:
            continue
        further, its = _add_up(place.url, storage, more)
        retried += further.counts["codes"]
        languages = _joined([*languages, *its])
    dropped = read_dropped(storage, output)
    languages = _without(languages, dropped)
    clips = sum(each.clips for each in languages)
    seconds = sum(each.seconds for each in languages)
    named = sorted(str(each.language) for each in languages if each.language != _UNKNOWN)
    codec = record.identity["codec"]
    shape = CodesShape.of(codec)
    own = "tokens/**/*.parquet"
    data_files = [own, f"{RETRIES}/*/{own}"] if retried else own
    header = DatasetCardData(
        license=licence,
        pretty_name=title,
        language=named,
        task_categories=["text-to-speech"],
        size_categories=[size_category(clips)],
        configs=[{"config_name": "default", "data_files": data_files}],
    )
    body = _BODY.format(
        title=title,
        hours=seconds / 3600,
        clips=plural(clips, "clip"),
        num_languages=plural(len(named), "language"),
        num_speakers=plural(sum(language.speakers for language in languages), "speaker"),
        codec=codec,
        shape=shape,
        books=shape.codebooks_in_words(),
        rate_hz=shape.frame_rate_hz,
        shards=sums.done,
        rejects=sums.rejects.total() - retried,
        dropped=_in_words(dropped),
        filtered=sums.counts["filtered"],
        run=record.identity8,
        languages="\n".join(
            f"| {each.language} | {each.clips:,} | {each.seconds / 3600:,.2f} |"
            for each in languages
        ),
        columns="\n".join(_column(each, shape) for each in part_schema(shape)),
    )
    return str(DatasetCard(f"---\n{header.to_yaml()}\n---\n{body}"))


def _add_up(
    output: str, storage: Storage, names: Sequence[ManifestName]
) -> tuple[ShardSums, list[LanguageCount]]:
    """Sums over all shards, and over the rows of each language, that with most clips first."""
    sums, total = ShardSums(), dict[str, LanguageCount]()
    with ThreadPoolExecutor(_READERS) as pool:
        for shards in read_shards(storage, output, names, _COLUMNS):
            sums.take(shards)
            counted = shards["languages"].to_pylist()
            paths = map(str, shards["part_path"].to_pylist())
            both = zip(paths, counted, strict=True)
            older = [join(output, path) for path, counts in both if counts is None]
            read = pool.map(lambda part: _languages_of(part, storage), older)
            for count in chain(*filter(None, counted), *read):
                name = count["language"] or _UNKNOWN
                facts = (count["clips"], count["seconds"], count["speakers"])
                before = [total[name]] if name in total else []
                (total[name],) = _joined([*before, LanguageCount(name, *facts)])
    return sums, _joined(list(total.values()))


def _joined(counts: Sequence[LanguageCount]) -> list[LanguageCount]:
    """One count a language, that with most clips first."""
    total: dict[str | None, LanguageCount] = {}
    for count in counts:
        before = total.get(count.language, LanguageCount(count.language, 0, 0.0, 0))
        total[count.language] = LanguageCount(
            count.language,
            before.clips + count.clips,
            before.seconds + count.seconds,
            before.speakers + count.speakers,
        )
    return sorted(total.values(), key=lambda count: -count.clips)


def _in_words(dropped: Dropped) -> str:
    if not dropped.num_clips:
        return "0"
    return (
        f"{dropped.num_clips} (`open_dataset` leaves them out; `{DROPPED}/*.parquet` names them "
        "for other readers)"
    )


def _without(languages: Sequence[LanguageCount], dropped: Dropped) -> list[LanguageCount]:
    """The sums without dropped clips; a speaker counts even if all clips of theirs are dropped."""
    rows = [row for part in dropped.by_part.values() for row in part.values()]
    clips = Counter(row["language"] or _UNKNOWN for row in rows)
    seconds = defaultdict[str, float](float)
    for row in rows:
        seconds[row["language"] or _UNKNOWN] += row["duration"] or 0.0
    left = [
        replace(
            each,
            clips=each.clips - clips[each.language or _UNKNOWN],
            seconds=each.seconds - seconds[each.language or _UNKNOWN],
        )
        for each in languages
    ]
    return [each for each in left if each.clips]


def _languages_of(part: str, storage: Storage) -> list[dict[str, Any]]:
    """The same from a part whose manifest does not tell them: an older version wrote it."""
    fs, path = storage.filesystem(part)
    with fs.open(path, "rb") as file:
        columns = ["language", "speaker", "duration"]
        table: Any = pq.ParquetFile(file).read(columns=columns, use_threads=False)
    sums: Any = table.group_by("language", use_threads=False).aggregate(
        [
            ("language", "count", pc.CountOptions(mode="all")),
            ("duration", "sum"),
            ("speaker", "count_distinct"),
        ]
    )
    return list(
        sums.rename_columns(
            {
                "language_count": "clips",
                "duration_sum": "seconds",
                "speaker_count_distinct": "speakers",
            }
        ).to_pylist()
    )


def size_category(num_clips: int) -> str:
    """How hubs name a number of clips, e.g. `10K<n<100K`."""
    digits = len(str(num_clips))
    return "n<1K" if digits < 4 else f"{_SIZES[digits - 4]}<n<{_SIZES[digits - 3]}"


def _column(column: Any, shape: CodesShape) -> str:
    kind = f"{column.type}, may be null" if column.nullable else str(column.type)
    if column.name == "codes":
        kind = f"list of {plural(shape.num_codebooks, 'list')} of {shape.dtype}, one per codebook"
    return f"| `{column.name}` | {kind} | {COLUMN_MEANINGS[column.name]} |"
