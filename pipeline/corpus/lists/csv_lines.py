"""Lines of CSV and TSV as fields, with numbers as numbers."""

import csv
import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pipeline.corpus.lists.field_names import NUMBERS, PATHS, SECONDS, TEXTS, shown_names

_NUMBER = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?([eE][-+]?\d+)?")
_DECIMAL_COMMA = re.compile(r"-?\d+,\d+")


def csv_lines(text: str, *, has_tabs: bool) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """The fields of all lines but the first, which names them, with the numbers of their lines."""
    reader = csv.DictReader(
        io.StringIO(text),
        delimiter="\t" if has_tabs else ",",
        quoting=csv.QUOTE_NONE if has_tabs else csv.QUOTE_MINIMAL,
        strict=True,
    )
    try:
        for row in reader:
            if None in row or None in row.values():
                raise ValueError(
                    f"line {reader.line_num} has another number of columns than the first, which "
                    f"has {shown_names(reader.fieldnames or ())}"
                )
            # An empty path is kept: its line becomes a reject.
            fields = {
                name: _typed(name, value)
                for name, value in row.items()
                if value or name.lower() in PATHS
            }
            yield reader.line_num, fields
    except csv.Error as error:
        # The number is that of the last line that was read well.
        raise ValueError(f"after line {reader.line_num}: {error}") from error


def decimal_commas(rows: Sequence[tuple[int, Mapping[str, Any]]]) -> list[str]:
    """The lines with a decimal comma in a column of numbers, which would be text without a word.

    A column has numbers by its name, or where other lines have one in it.
    """
    by_value = {
        name
        for _, row in rows
        for name, value in row.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }
    return [
        f'line {number}: `{name}` is "{value}"; expected a number'
        f"{' of seconds' if name.lower() in SECONDS else ''}, as {value.replace(',', '.')}"
        for number, row in rows
        for name, value in row.items()
        if isinstance(value, str)
        and (name in by_value or name.lower() in NUMBERS)
        and _DECIMAL_COMMA.fullmatch(value)
        and name.lower() not in TEXTS
    ]


def _typed(name: str, value: str) -> Any:
    return json.loads(value) if name.lower() not in TEXTS and _NUMBER.fullmatch(value) else value
