"""Holds `--where` against clips: whether its fields are there, and have the types it compares with.

Without it a misspelt field, or a number in quotes, filters every clip without a word. Runs
(`filter_fields.py`), exports and the reader of codes use it; what an expression means is in
`where.py`.
"""

import ast
import threading
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.corpus.where import WORDS, fields_of, value_of
from pipeline.errors import UsageError
from pipeline.plural import plural

_NUMBER, _TEXT, _LIST, _OBJECT = "numbers", "text", "lists", "objects"
_MOST_SHOWN = 40


def types_in(where: str) -> dict[str, frozenset[str]]:
    """The types that an expression compares each of its fields with."""
    found: dict[str, set[str]] = {}
    for node in ast.walk(ast.parse(where.strip(), mode="eval")):
        if isinstance(node, ast.Compare):
            sides = (node.left, *node.comparators)
            for op, left, right in zip(node.ops, sides, sides[1:], strict=False):
                for side, types in _types_of_sides(op, left, right):
                    if isinstance(side, ast.Name | ast.Attribute) and types:
                        found.setdefault(ast.unparse(side), set()).update(types)
    return {name: frozenset(types) for name, types in found.items() if name not in WORDS}


def _types_of_sides(
    op: ast.cmpop, left: ast.expr, right: ast.expr
) -> Iterator[tuple[ast.expr, set[str]]]:
    """Each side of a comparison with the types that it may have beside the other side."""
    if not isinstance(op, ast.In | ast.NotIn):
        yield left, _types_of(right)
        yield right, _types_of(left)
        return
    items = right.elts if isinstance(right, ast.List | ast.Tuple) else []
    yield left, {each for item in items for each in _types_of(item)} or _types_of(right)
    item_types = _types_of(left)
    if item_types:
        yield right, {_LIST, _OBJECT, *(item_types & {_TEXT})}


def _types_of(node: ast.expr) -> set[str]:
    match node:
        case ast.Constant(value=None) | ast.Name(id="null"):
            return set()
        case ast.Constant(value=str()):
            return {_TEXT}
        case ast.Constant() | ast.UnaryOp() | ast.Name(id="true" | "false"):
            return {_NUMBER}
        case ast.List() | ast.Tuple():
            return {_LIST}
        case _:
            return set()


def _type_of(value: Any) -> str:
    match value:
        case str():
            return _TEXT
        case Mapping():
            return _OBJECT
        case list() | tuple():
            return _LIST
        case _:
            return _NUMBER  # `true` equals 1


@dataclass(slots=True)
class _FieldTypes:
    """The values of one field so far: how many fit by type, and the first that does not."""

    wanted: frozenset[str]
    num_fit: int = 0
    num_unfit: int = 0
    unfit: Any = None


class WhereCheck:
    """What is known of the fields that an expression names, clip by clip; threads may share it."""

    def __init__(self, where: str) -> None:
        self._where = where
        self._types = {name: _FieldTypes(wanted) for name, wanted in types_in(where).items()}
        self._unseen = set(fields_of(where))
        self._known: set[str] = set()
        self._columns: set[str] = set()
        self._num_clips = 0
        # Clips with a value of another type than it is compared with.
        self.num_unfit = 0
        self._lock = threading.Lock()

    @property
    def is_sure(self) -> bool:
        """Whether every field was in some clip, with a value of a type that fits."""
        return not self._unseen and all(seen.num_fit for seen in self._types.values())

    def note_columns(self, names: Collection[str]) -> None:
        """Note names that may have been meant, whether clips have values there or not."""
        self._columns.update(names)

    def look_at(self, fields: Mapping[str, Any]) -> bool:
        """Look at one more clip; whether its values have types that can be compared."""
        fits = True
        with self._lock:
            self._num_clips += 1
            if self._unseen:
                self._known.update(names_of(fields))
                self._unseen -= self._known
            for name, seen in self._types.items():
                value = value_of(fields, name)
                if value is None:
                    continue
                if _type_of(value) in seen.wanted:
                    seen.num_fit += 1
                    continue
                fits = False
                seen.unfit = seen.unfit if seen.num_unfit else value
                seen.num_unfit += 1
            self.num_unfit += not fits
        return fits

    def refuse_misfits(self, others: str, shards: str = "") -> None:
        """Raise where no clip has a field, or none has it with a type that fits.

        Args:
            others: what else may have the fields, such as `shards`.
            shards: where the clips were, such as ` of 3 shards`.
        """
        if not self._num_clips:
            return
        looked_at = f"{plural(self._num_clips, 'clip')}{shards}"
        if self._unseen:
            self._refuse_unknown(looked_at, others)
        faults = [
            f"`{name}` with {_either(seen.wanted)}, and all {seen.num_unfit} values of the first "
            f"{looked_at} are {_type_of(seen.unfit)}, such as {_shown(seen.unfit)}; "
            f"expected one type on both sides; {_what_to_do(name, seen)}"
            for name, seen in self._types.items()
            if seen.num_unfit and not seen.num_fit
        ]
        if faults:
            raise UsageError(f"`--where '{self._where}'` compares {'; it compares '.join(faults)}")

    def unfit_types(self) -> str:
        """Which fields have values of another type than they are compared with, and an example."""
        return "; ".join(
            f"`{name}` is compared with {_either(seen.wanted)}, and some values are "
            f"{_type_of(seen.unfit)}, such as {_shown(seen.unfit)}"
            for name, seen in self._types.items()
            if seen.num_unfit
        )

    def _refuse_unknown(self, looked_at: str, others: str) -> None:
        missing = [name for name in fields_of(self._where) if name in self._unseen]
        named = {*self._known, *self._columns} - set(missing)
        faults = [f"`{name}` (expected {_nearest(name, named)})" for name in missing]
        raise UsageError(
            f"`--where '{self._where}'` names fields that none of the first {looked_at} has: "
            f"{', '.join(faults)}; correct them, or, where other {others} have `{missing[0]}`, "
            f"write `{missing[0]} != null and …`"
        )


def names_of(fields: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """The names of all fields, dotted where they are nested."""
    for name, value in fields.items():
        yield prefix + name
        if isinstance(value, Mapping):
            yield from names_of(value, f"{prefix}{name}.")


def _nearest(name: str, known: Collection[str]) -> str:
    try:
        from xy_codec.nearest_name import nearest
    except ImportError:  # it needs numpy, which reading codes does not
        return f"one of {', '.join(sorted(known))}"
    return nearest(name, known)


def _either(types: frozenset[str]) -> str:
    return " or ".join(sorted(types))


def _shown(value: Any) -> str:
    text = repr(value)
    return f"`{text}`" if len(text) <= _MOST_SHOWN else f"`{text[:_MOST_SHOWN]}…`"


def _what_to_do(name: str, seen: _FieldTypes) -> str:
    match _type_of(seen.unfit):
        case "numbers" if _TEXT in seen.wanted:
            return "write the value without quotes"
        case "text" if _NUMBER in seen.wanted:
            return "put the value in quotes, or mend the clips' metadata"
        case "lists":
            return f"write `value in {name}`"
        case _:
            return "compare another field"
