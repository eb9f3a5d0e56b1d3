"""Which rows of a part are read: those that fit a condition, and those that a keep list keeps."""

import ast
import json
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow.parquet as pq

from pipeline.corpus.where import parse_where
from pipeline.errors import InputError, UsageError
from pipeline.output.parquet_layout import PROVENANCE_KEY
from pipeline.read.part_reader import reading_part
from pipeline.storage.client import Storage
from pipeline.storage.location import redact

COMPARISONS = ("==", "=", "!=", "<", "<=", ">", ">=", "in", "not in")
# Column, comparison and value; a row without a value in the column never fits.
Condition = tuple[str, str, Any]
Where = str | tuple[Condition, ...]
_EXTRA = "extra"


def rows_of(table: Any) -> Iterator[Mapping[str, Any]]:
    """The fields of each row: its columns, and what its JSON had beside them."""
    for row in table.to_pylist():
        extra = row.pop(_EXTRA, None)
        yield {**json.loads(extra), **row} if extra else row


def names_in(where: str) -> set[str]:
    """The first names of all fields in an expression, also of those that need not exist."""
    tree = ast.parse(where.strip(), mode="eval")
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}


@dataclass(frozen=True, slots=True)
class RowFilter:
    """Finds the rows of a row group that fit; without `where` and `keep`, all do.

    Attributes:
        where: the words of `xytok tokenize --where`, or conditions that must all hold.
        keep: the kept rows of each shard, from the list of an audit.
    """

    where: Where = ()
    keep: "KeptRows | None" = None

    @property
    def is_open(self) -> bool:
        """Whether every row fits."""
        return not self.where and self.keep is None

    def columns(self, known: Sequence[str]) -> list[str]:
        """The columns to look at, of those that a part has; raises for one that it lacks."""
        if not isinstance(self.where, str):
            return list(dict.fromkeys(column for column, _, _ in self.where))
        names = names_in(self.where) - {"true", "false", "null"}
        # What is no column may be a field of the clip's JSON.
        beside = [_EXTRA] if names - set(known) and _EXTRA in known else []
        return sorted(names & set(known)) + beside

    def rows(self, table: Any, shard: Sequence[str], first_row: int) -> "array[int]":
        """The numbers, within the row group, of the rows that fit; `table` has `columns`."""
        count = table.num_rows
        fits: Sequence[int] = range(count)
        if isinstance(self.where, str):
            predicate = parse_where(self.where)
            fits = [row for row, fields in enumerate(rows_of(table)) if predicate(fields)]
        elif self.where:
            numbered = table.append_column("", [list(range(count))])
            conditions: list[Any] = list(self.where)
            found = numbered.filter(pq.filters_to_expression(conditions))
            fits = found.column("").to_pylist()
        if self.keep is not None:
            kept = self.keep.of(shard)
            fits = [row for row in fits if first_row + row in kept]
        return array("i", fits)


def shard_names(file: Any) -> tuple[str, ...]:
    """The path of a part's shard, as its footer has it."""
    provenance = (file.schema_arrow.metadata or {}).get(PROVENANCE_KEY)
    return (json.loads(provenance)["shard"],) if provenance else ()


class KeptRows:
    """The keep list of an audit: a row that it does not mention was not judged, and is left out."""

    def __init__(self, storage: Storage, url: str) -> None:
        self._url = url
        columns = ["shard", "row", "keep"]

        def read() -> Any:
            fs, path = storage.filesystem(url)
            with fs.open(path, "rb") as file:
                missing = sorted(set(columns) - set(pq.read_schema(file).names))
                if missing:
                    raise UsageError(
                        f"`{redact(url)}` has no column {', '.join(missing)}; expected a keep "
                        "list, as `xytok audit` writes it; pass that file as `keep`"
                    )
                return pq.read_table(file, columns=columns, filters=[("keep", "==", True)])

        table = reading_part(storage, url, read)
        self._rows: dict[str, array[int]] = {}
        for batch in table.to_batches():
            shards, rows = (batch.column(name).to_pylist() for name in ("shard", "row"))
            for shard, row in zip(shards, rows, strict=True):
                self._rows.setdefault(shard, array("i")).append(row)

    def of(self, shard: Sequence[str]) -> set[int]:
        """The kept rows of a shard."""
        if not shard:
            raise InputError(
                f"A part does not name its shard, which the keep list `{redact(self._url)}` goes "
                "by; expected parts that `xytok tokenize` wrote; leave `keep` out"
            )
        return set(next((self._rows[name] for name in shard if name in self._rows), ()))
