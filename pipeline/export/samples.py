"""Rows of a run as samples: ids, text, some or all codebooks, and a reference if one is wanted.

A reference is the next exported clip of the same speaker in the same row group; the last one takes
the first. It is found before samples are shuffled or cut into shards, and depends on neither.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.corpus.shard import stem_of
from pipeline.export.contract import Codes, Reference, Sample
from pipeline.export.source import ExportedRun, Group, PartReader

_COLUMNS = ("key", "codes", "duration", "text", "speaker", "language", "num_frames")
_REFERENCE, _REFERENCE_TEXT = "ref_codes", "ref_text"
ROW = "exported_row"  # counted over all parts


@dataclass(frozen=True, slots=True)
class SampleRules:
    """How a row becomes a sample.

    Attributes:
        columns: further columns of the parts.
        num_codebooks: the first so many are exported.
        pair_reference: give each clip another one of its speaker.
        keep_text_spaces: leave white space around texts, which Emilia's have in front.
        duplicate_keys: refuse them, or make all ids unique by their shard's path in front.
        names_files: ids become names of files, in which a dot would end the key.
    """

    columns: tuple[str, ...] = ()
    num_codebooks: int = 1
    pair_reference: bool = False
    keep_text_spaces: bool = False
    duplicate_keys: Literal["refuse", "prefix"] = "refuse"
    names_files: bool = False


def ids_of(rules: SampleRules, run: ExportedRun, group: Group, table: Any) -> list[str]:
    """What the clips of some rows of a group are called in the export."""
    keys: list[str] = table["key"].to_pylist()
    if rules.names_files:
        keys = [_without_dots(key) if "." in key else key for key in keys]
    if rules.duplicate_keys == "refuse":
        return keys
    if run.is_merged:
        stems = [stem_of(shard) for shard in shards_of(run, group, table)]
    else:
        path = run.parts[group.part].path
        stems = [path.removeprefix("tokens/").removesuffix(".parquet")] * len(keys)
    return [f"{_prefix(stem)}-{key}" for stem, key in zip(stems, keys, strict=True)]


def shards_of(run: ExportedRun, group: Group, table: Any) -> list[str]:
    """The shard of each row: its path, or its whole address in what was merged."""
    if run.is_merged:
        addresses: list[str] = table["shard"].to_pylist()
        return addresses
    return [run.parts[group.part].shard] * len(table)


@lru_cache(maxsize=64)
def _prefix(stem: str) -> str:
    # A dot would end the key of a WebDataset member.
    return stem.rpartition("://")[2].strip("/").replace("/", "_").replace(".", "_")


def _without_dots(key: str) -> str:
    folder, slash, name = key.rpartition("/")
    return f"{folder}{slash}{name.replace('.', '_')}"


def read_chosen(
    reader: PartReader, run: ExportedRun, group: Group, rows: NDArray[Any], rules: SampleRules
) -> Any:
    """The chosen rows of a group as a table, from which `samples_of` makes samples."""
    names = dict.fromkeys((*_COLUMNS, *rules.columns, *(("shard",) if run.is_merged else ())))
    table: Any = reader.read(group, list(names)).take(pa.array(rows))
    ids = ids_of(rules, run, group, table)
    table = table.set_column(table.schema.get_field_index("key"), "key", pa.array(ids, pa.string()))
    first = run.parts[group.part].first_row + group.first_row
    table = table.append_column(ROW, pa.array(rows + first, pa.int64()))
    if rules.pair_reference:
        others = _others(table["speaker"].to_pylist())
        places = pa.array(others, mask=np.array(others) < 0)
        table = table.append_column(_REFERENCE, table["codes"].take(places))
        table = table.append_column(_REFERENCE_TEXT, table["text"].take(places))
    return table


def _others(speakers: Sequence[str | None]) -> list[int]:
    """For each clip the place of the next one of its speaker; -1 where there is none."""
    places: dict[str, list[int]] = {}
    for place, speaker in enumerate(speakers):
        if speaker:
            places.setdefault(speaker, []).append(place)
    others = [-1] * len(speakers)
    for same in places.values():
        if len(same) > 1:
            for place, other in zip(same, [*same[1:], same[0]], strict=True):
                others[place] = other
    return others


def samples_of(table: Any, rules: SampleRules) -> Iterator[Sample]:
    """The samples of a table of `read_chosen`, one after the other."""
    codes = _unpack(table["codes"], rules.num_codebooks)
    light = table.drop_columns(["codes", *([_REFERENCE] if rules.pair_reference else [])])
    references: Iterator[Codes | None] = iter(())
    if rules.pair_reference:
        references = _unpack(table[_REFERENCE], rules.num_codebooks)
    for row in light.to_pylist():
        matrix, reference = next(codes), next(references, None)
        assert matrix is not None  # codes are not nullable
        yield Sample(
            id=row["key"],
            codes=matrix,
            duration=row["duration"],
            text=_text(row["text"], rules),
            speaker=row["speaker"],
            language=row["language"],
            columns={name: row[name] for name in rules.columns},
            reference=None
            if reference is None
            else Reference(reference, _text(row[_REFERENCE_TEXT], rules)),
        )


def _text(text: str | None, rules: SampleRules) -> str | None:
    return text if text is None or rules.keep_text_spaces else text.strip()


def _unpack(column: Any, num_codebooks: int) -> Iterator[Codes | None]:
    """The first codebooks of every row `[K, T]` as views; None where the row is null."""
    for array in column.chunks:
        clips = array.offsets.to_numpy()
        books = array.values.offsets.to_numpy()
        values = array.values.values.to_numpy()
        present = array.is_valid().to_numpy(zero_copy_only=False)
        for first, is_there in zip(clips[:-1], present, strict=True):
            if not is_there:
                yield None
                continue
            start, end = books[first], books[first + num_codebooks]
            yield values[start:end].reshape(num_codebooks, -1)
