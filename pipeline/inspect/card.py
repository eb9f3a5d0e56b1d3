"""A dataset card for a hub: hours, clips, languages, speakers, codec, licence and schema."""

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.inspect.status import RunStatus, read_status
from pipeline.output.run_record import RunRecord, read_run_record
from pipeline.output.schema import PART_SCHEMA
from pipeline.read.dataset import find_parts
from pipeline.storage.client import Storage
from pipeline.storage.location import normalise

_READERS = 8
_UNKNOWN = "unknown"
_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (10**6, "100K<n<1M"))
_LARGER = ((10**7, "1M<n<10M"), (10**8, "10M<n<100M"))


@dataclass(frozen=True, slots=True)
class Languages:
    """Clips and hours by language, and how many speakers there are."""

    clips: dict[str, int]
    hours: dict[str, float]
    num_speakers: int


def make_card(output: str, storage: Storage, *, licence: str, title: str) -> str:
    """The card as Markdown with the header that hubs read."""
    output = normalise(output)
    record = read_run_record(storage, output)
    status = read_status(output, storage)
    languages = _count_languages(find_parts(output, storage), storage)
    sections = [
        _header(status, languages, licence, title),
        _summary(status, languages, record, title),
        _language_table(languages),
        _schema_table(),
        _usage(),
    ]
    return "\n".join(sections)


def _count_languages(parts: Sequence[str], storage: Storage) -> Languages:
    clips: Counter[str] = Counter()
    hours: Counter[str] = Counter()
    speakers: set[tuple[str, str]] = set()

    def read(part: str) -> Any:
        fs, path = storage.filesystem(part)
        return pq.read_table(fs.open(path, "rb"), columns=["language", "speaker", "duration"])

    with ThreadPoolExecutor(_READERS) as pool:
        for table in pool.map(read, parts):
            for row in table.to_pylist():
                language = row["language"] or _UNKNOWN
                clips[language] += 1
                hours[language] += row["duration"] / 3600
                if row["speaker"] is not None:
                    speakers.add((language, row["speaker"]))
    return Languages(dict(clips.most_common()), dict(hours), len(speakers))


def _header(status: RunStatus, languages: Languages, licence: str, title: str) -> str:
    named = sorted(name for name in languages.clips if name != _UNKNOWN)
    bounds = (*_SIZES, *_LARGER)
    size = next((label for bound, label in bounds if status.codes < bound), "n>100M")
    return "\n".join(
        [
            "---",
            f"license: {licence}",
            f"pretty_name: {title}",
            "language:" if named else "language: []",
            *(f"- {name}" for name in named),
            "task_categories:",
            "- text-to-speech",
            "size_categories:",
            f"- {size}",
            "configs:",
            "- config_name: default",
            "  data_files: tokens/**/*.parquet",
            "---",
        ]
    )


def _summary(status: RunStatus, languages: Languages, record: RunRecord, title: str) -> str:
    codec = record.identity["codec"]
    frames = codec["input_rate_hz"] / codec["samples_per_frame"]
    num_languages = len(set(languages.clips) - {_UNKNOWN})
    return (
        f"\n# {title}\n\n"
        f"{status.hours:,.1f} hours of speech as codes: {status.codes:,} clips, "
        f"{num_languages} languages, {languages.num_speakers:,} speakers.\n\n"
        f"- Codec: {codec['name']}, checkpoint sha256 `{codec['checkpoint_sha256']}`, "
        f"precision {codec['precision']}\n"
        f"- Codes: {codec['num_codebooks']} codebooks of {codec['codebook_size']} at "
        f"{frames:g} frames a second\n"
        f"- Shards: {status.done} done; rejects: {sum(status.rejects.values())}; filtered: "
        f"{status.filtered}; run `{status.identity8}`\n"
    )


def _language_table(languages: Languages) -> str:
    rows = [
        f"| {name} | {clips:,} | {languages.hours[name]:,.2f} |"
        for name, clips in languages.clips.items()
    ]
    return "\n".join(
        ["## Languages", "", "| language | clips | hours |", "|---|---|---|", *rows, ""]
    )


def _schema_table() -> str:
    fields: list[pa.Field[Any]] = list(PART_SCHEMA)
    rows = [f"| `{f.name}` | {_type_name(f)} |" for f in fields]
    return "\n".join(["## Columns", "", "| column | type |", "|---|---|", *rows, ""])


def _type_name(field: Any) -> str:
    if field.name == "codes":
        return "list of K lists of int16, one per codebook"
    return str(field.type) + (", may be null" if field.nullable else "")


def _usage() -> str:
    return (
        "## Reading it\n\n"
        "```python\n"
        "from pipeline.read.dataset import open_dataset\n\n"
        'for clip in open_dataset("OUT", num_codebooks=8):\n'
        "    print(clip.key, clip.codes.shape, clip.columns)\n"
        "```\n"
    )
