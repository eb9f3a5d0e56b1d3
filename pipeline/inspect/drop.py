"""Takes clips out of a finished output by their keys; no shard is encoded again.

`xytok drop` calls it. Which clips are out lies in `pipeline/output/dropped.py`.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from pipeline.errors import UsageError, list_lines
from pipeline.output.dropped import DroppedList, read_dropped, read_lists, remove_list, write_list
from pipeline.output.index import read_shards
from pipeline.output.retries import finished_in
from pipeline.output.run_record import read_run_record
from pipeline.plural import plural
from pipeline.read.part_reader import open_part, reading_part
from pipeline.storage.client import Storage
from pipeline.storage.location import join, normalise, redact

_READERS = 8
_COLUMNS = ("part_path", "part_rows", "smallest_key", "largest_key")
_KEPT = ("key", "language", "duration")


@dataclass(frozen=True, slots=True)
class DropResult:
    """What a command took out; `path` is its list, None where all clips were out before."""

    path: str | None
    num_clips: int
    num_before: int


def read_keys(text: str) -> list[str]:
    """The keys of a file with one key a line; empty lines count nothing."""
    # Not `splitlines`: a key may hold other characters that end lines there.
    return [key for line in text.split("\n") if (key := line.removesuffix("\r")).strip()]


def drop_clips(
    output: str, keys: Iterable[str], reason: str, storage: Storage, shard: str = ""
) -> DropResult:
    """Take clips out.

    Args:
        keys: their names, as in the column `key`.
        reason: is shown wherever the clip is missed.
        shard: only in parts with this piece in their path; a key that several parts have is refused
            without it.
    """
    output = normalise(output)
    wanted = sorted(set(keys))
    if not wanted or not reason.strip():
        raise UsageError(
            "`xytok drop` got no key or no reason; expected at least one key and a reason, which "
            "is shown wherever the clip is missed; write for example "
            "`--keys @bad.txt --reason 'wrong language'`"
        )
    found = _find(output, wanted, storage, shard)
    _refuse_unclear(output, wanted, found, shard)
    known = read_dropped(storage, output)
    new = [row for row in found if row["key"] not in known.keys_of(row["part"])]
    path = write_list(storage, output, [row | {"reason": reason} for row in new]) if new else None
    return DropResult(path, len(new), len(found) - len(new))


def dropped_lists(output: str, storage: Storage) -> list[DroppedList]:
    """The lists of an output."""
    output = normalise(output)
    read_run_record(storage, output)
    return read_lists(storage, output)


def undo_drop(output: str, number: int, storage: Storage) -> DroppedList:
    """Bring back what the list with this number took out."""
    lists = dropped_lists(output, storage)
    for each in lists:
        if each.number == number:
            remove_list(storage, normalise(output), each)
            return each
    numbers = ", ".join(str(each.number) for each in lists) or "none"
    raise UsageError(
        f"`{redact(output)}` has no list {number} of dropped clips; expected one of its lists: "
        f"{numbers}; `xytok drop {redact(output)}` shows them"
    )


def _find(output: str, wanted: Sequence[str], storage: Storage, shard: str) -> list[dict[str, Any]]:
    parts: list[tuple[str, Sequence[str]]] = []
    record = read_run_record(storage, output)
    for place, names in finished_in(storage, output, record.identity8):
        for table in read_shards(storage, place.url, names, _COLUMNS):
            for row in table.to_pylist():
                within = _within(wanted, row["smallest_key"], row["largest_key"])
                if within and row["part_rows"] and shard in row["part_path"]:
                    parts.append((place.prefix + row["part_path"], within))
    with ThreadPoolExecutor(_READERS) as pool:
        found = pool.map(lambda each: _rows(storage, output, *each), parts)
        return [row for rows in found for row in rows]


def _within(wanted: Sequence[str], smallest: str | None, largest: str | None) -> Sequence[str]:
    """The keys that a part may have; an older version's manifest names no bounds."""
    if smallest is None or largest is None:
        return wanted
    return wanted[bisect_left(wanted, smallest) : bisect_right(wanted, largest)]


def _rows(storage: Storage, output: str, part: str, wanted: Sequence[str]) -> list[dict[str, Any]]:
    url = join(output, part)
    with open_part(storage, url) as file:
        table: Any = reading_part(storage, url, lambda: file.read(columns=list(_KEPT)))
    rows = table.filter(pa.compute.is_in(table["key"], pa.array(wanted, pa.string()))).to_pylist()
    return [row | {"part": part} for row in rows]


def _refuse_unclear(
    output: str, wanted: Sequence[str], found: Sequence[Mapping[str, Any]], shard: str
) -> None:
    places: dict[str, list[str]] = {}
    for row in found:
        places.setdefault(row["key"], []).append(row["part"])
    missing = [f"`{key}`" for key in wanted if key not in places]
    if missing:
        raise UsageError(
            f"{len(missing)} of {plural(len(wanted), 'key is', 'keys are')} in no part of "
            f"`{redact(output)}`"
            f"{f' with `{shard}` in its path' if shard else ''}:\n"
            f"{list_lines(missing)}\nexpected keys as in the column `key`; nothing was dropped; "
            "leave these out"
        )
    unclear = [
        f"`{key}`: {', '.join(f'`{part}`' for part in sorted(parts))}"
        for key, parts in places.items()
        if len(set(parts)) > 1
    ]
    if unclear:
        raise UsageError(
            f"{plural(len(unclear), 'key is', 'keys are')} in several "
            f"parts:\n{list_lines(unclear)}\nexpected each in "
            "one; nothing was dropped; name the part with `--shard`, a piece of its path"
        )
