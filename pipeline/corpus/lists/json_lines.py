"""Lines of JSON as fields."""

import json
from collections.abc import Iterator, Mapping
from typing import Any


def json_lines(text: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """The objects of all lines with the numbers of their lines; raises for anything else."""
    for number, line in enumerate(text.split("\n"), 1):
        try:
            row = json.loads(line) if line.strip() else None
        except json.JSONDecodeError as error:
            raise ValueError(
                f"line {number} is no JSON: {error.msg} at column {error.colno}"
            ) from error
        if row is not None and not isinstance(row, dict):
            raise ValueError(f"line {number} is a JSON {type(row).__name__}, not an object")
        if row is not None:
            yield number, row
