"""Which rows of a part are read: those that fit a condition, a keep list keeps, none dropped."""

import ast
import json
from array import array
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.corpus.where import WORDS, parse_where
from pipeline.corpus.where_check import WhereCheck
from pipeline.errors import InputError, UsageError
from pipeline.output.parquet_layout import PROVENANCE_KEY
from pipeline.output.retries import prefix_of_part
from pipeline.read.keep_list import KeepList
from pipeline.storage.location import redact

COMPARISONS = ("==", "=", "!=", "<", "<=", ">", ">=", "in", "not in")
# Column, comparison and value; a row without a value in the column never fits.
Condition = tuple[str, str, Any]
Where = str | tuple[Condition, ...]
_EXTRA = "extra"


def rows_of(table: Any) -> Iterator[Mapping[str, Any]]:
    """The fields of each row: columns that have a value, and what its JSON had beside them."""
    for row in table.to_pylist():
        extra = row.pop(_EXTRA, None)
        columns = {name: value for name, value in row.items() if value is not None}
        yield {**json.loads(extra), **columns} if extra else columns


def where_columns(where: str, known: Sequence[str]) -> list[str]:
    """The columns that an expression looks at; `extra` has the fields that are no column."""
    tree = ast.parse(where.strip(), mode="eval")
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)} - set(WORDS)
    return sorted({name if name in known else _EXTRA for name in names} & set(known))


@dataclass(frozen=True, slots=True)
class RowFilter:
    """Finds the rows of a row group that fit; without any of the three, all do.

    Attributes:
        where: the words of `xytok tokenize --where`, or conditions that must all hold.
        keep: the list of an audit, with the columns `row` and `keep`; rows that it does not
            mention do not fit.
        dropped: by the URL of a part, the keys that were taken out of it.
        sha256_of: gives the hash of a part, for keep lists that have hashes.
    """

    where: Where = ()
    keep: KeepList | None = None
    dropped: Mapping[str, frozenset[str]] = field(default_factory=dict)
    sha256_of: Callable[[str], str] | None = None

    def is_open(self, url: str) -> bool:
        """Whether every row of a part fits."""
        return not self.where and self.keep is None and url not in self.dropped

    def columns(self, known: Sequence[str], url: str) -> list[str]:
        """The columns to look at, of those that a part has; raises for one that it lacks."""
        names = ["key"] if url in self.dropped else []
        if isinstance(self.where, str):
            names += where_columns(self.where, known)
        else:
            names += (column for column, _, _ in self.where)
        return list(dict.fromkeys(names))

    def kept_rows(self, file: Any, url: str) -> Container[int] | None:
        """The rows of a part that the keep list keeps; None without a list."""
        if self.keep is None:
            return None
        assert self.sha256_of is not None
        # The rows of a retry are others than those of the shard's first part.
        shard = prefix_of_part(url) + shard_of(file, url)
        listed = self.keep.of_shard([shard], partial(self.sha256_of, url))
        return set(listed.filter(listed["keep"])["row"].to_pylist())

    def rows(
        self,
        table: Any,
        url: str,
        kept: Container[int] | None,
        first_row: int,
        check: WhereCheck | None,
    ) -> "array[int]":
        """The numbers, within the row group, of the rows that fit; `table` has `columns`.

        `check` looks at every row where `where` is an expression.
        """
        count = table.num_rows
        fits: Sequence[int] = range(count)
        if isinstance(self.where, str):
            predicate, fits = parse_where(self.where), []
            for row, fields in enumerate(rows_of(table)):
                if check is not None:
                    check.look_at(fields)
                if predicate(fields):
                    fits.append(row)
        elif self.where:
            numbered = table.append_column("", [list(range(count))])
            conditions: list[Any] = list(self.where)
            try:
                found = numbered.filter(pq.filters_to_expression(conditions))
            except (pa.ArrowNotImplementedError, pa.ArrowInvalid, pa.ArrowTypeError) as error:
                types = ", ".join(f"`{n}` {table.schema.field(n).type}" for n, _, _ in conditions)
                raise UsageError(
                    f"The conditions {conditions} cannot be compared ({error}); expected values of "
                    f"their columns' types: {types}; write numbers without quotes and texts in them"
                ) from error
            fits = found.column("").to_pylist()
        if kept is not None:
            fits = [row for row in fits if first_row + row in kept]
        if url in self.dropped:
            keys, dropped = table["key"].to_pylist(), self.dropped[url]
            fits = [row for row in fits if keys[row] not in dropped]
        return array("i", fits)


def shard_of(file: Any, url: str) -> str:
    """The path of a part's shard, as its footer has it and keep lists name it."""
    provenance = (file.schema_arrow.metadata or {}).get(PROVENANCE_KEY)
    if not provenance:
        raise InputError(
            f"Part `{redact(url)}` does not name its shard, which keep lists go by; expected parts "
            "that `xytok tokenize` wrote; leave `keep` out"
        )
    return str(json.loads(provenance)["shard"])
