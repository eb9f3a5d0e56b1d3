"""What pydantic found wrong in settings, in our words: where, the value, and what was expected.

Settings are pydantic dataclasses (`from pydantic.dataclasses import dataclass`), so a wrong value
cannot get into one. Who builds them from YAML or flags turns a `ValidationError` into an error of
their own with these lines, so that all faults are told at once.
"""

import dataclasses
import typing
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from xy_codec.nearest_name import nearest

_UNKNOWN = ("unexpected_keyword_argument", "extra_forbidden")
_MISSING = ("missing", "missing_argument", "missing_keyword_only_argument")
_EXPECTED = {
    "greater_than": "more than {gt:g}",
    "greater_than_equal": "{ge:g} or more",
    "less_than": "less than {lt:g}",
    "less_than_equal": "{le:g} or less",
    "too_short": "{min_length} or more of them",
    "too_long": "{max_length} of them at most",
    "literal_error": "{expected}",
    "byte_size": "bytes, or e.g. `512MiB`",
    "byte_size_unit": "bytes, or e.g. `512MiB`",
    "bool_parsing": "true or false",
    "bool_type": "true or false",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "int_type": "a whole number",
    "float_parsing": "a number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "string_type": "text",
    "list_type": "a list",
    "tuple_type": "a list",
    "dict_type": "a mapping",
    "dataclass_type": "a mapping",
    "dataclass_exact_type": "a mapping",
}


@dataclass(frozen=True, slots=True)
class Fault:
    """One wrong value: the names that lead to it, the value, and what was expected of it.

    `sentence` is set instead where a validator of ours raised a `ValueError` that says it all.
    """

    path: tuple[str, ...]
    value: object
    expected: str
    sentence: str = ""

    def __str__(self) -> str:
        """The line for a file of settings: `` `steps` is 0; expected 1 or more``."""
        line = f"`{'.'.join(self.path)}` is {self.value!r}; expected {self.expected}"
        return self.sentence or line


def faults(error: ValidationError, kind: type) -> list[Fault]:
    """Every fault that was found while an object of `kind` was built."""
    return [_fault(details, kind) for details in error.errors(include_url=False)]


def _fault(details: Any, kind: type) -> Fault:
    path = tuple(str(step) for step in details["loc"])
    if details["type"] in _UNKNOWN:
        return Fault(path, details["input"], nearest(path[-1], _fields_at(kind, path[:-1])))
    if details["type"] in _MISSING:
        return Fault(path, None, "a value")
    context = details.get("ctx", {})
    if details["type"] == "value_error":
        return Fault(path, details["input"], "", str(context["error"]))
    wanted = _EXPECTED.get(details["type"])
    return Fault(path, details["input"], wanted.format(**context) if wanted else details["msg"])


def _fields_at(kind: type, path: tuple[str, ...]) -> Iterable[str]:
    for name in path:
        kind = typing.get_type_hints(kind)[name]
    return [field.name for field in dataclasses.fields(kind)]
