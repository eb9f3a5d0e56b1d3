"""Parquet files with a column of audio, as `datasets` writes them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
from datasets import Audio, ClassLabel, Dataset, Features, Value
from datasets.utils.logging import disable_progress_bar

from tests.support.shard_maker import audio

disable_progress_bar()
FEATURES = Features(
    {
        "audio": Audio(decode=False),
        "text": Value("string"),
        "speaker": Value("string"),
        "language": ClassLabel(names=["en", "de"]),
        "dnsmos": Value("float32"),
        "age": Value("int64"),
    }
)


def row(number: int, **changes: Any) -> Mapping[str, Any]:
    """A row of a corpus: real MP3, and a value in every column."""
    sound = {"bytes": audio(0.5 + number / 10, seed=number), "path": f"clip.{number:03}.mp3"}
    values = {"audio": sound, "text": f"text {number}", "speaker": f"s{number % 3}"}
    return values | {"language": number % 2, "dnsmos": number / 2, "age": None} | changes


def write_parquet(path: Path, rows: Sequence[Mapping[str, Any]], group_rows: int = 4) -> Path:
    """Write rows by `datasets`, in row groups of so many."""
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.Table.from_pylist([dict(each) for each in rows], schema=FEATURES.arrow_schema)
    dataset = Dataset(table)
    dataset.to_parquet(str(path), batch_size=group_rows)
    return path
