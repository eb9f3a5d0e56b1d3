"""The filter `--where`: an expression over the JSON of a clip, parsed once, never run as code.

Names are fields of the JSON, with dots for nested ones. There are comparisons, `in`, `and`, `or`,
`not`, numbers, strings and lists, and nothing else. A missing field is `null`; a comparison of
types that do not fit is false, and `where_check.py` tells of it. Runs, exports and the reader of
codes have this one dialect.
"""

import ast
import operator
from collections.abc import Callable, Mapping
from typing import Any

from pipeline.errors import UsageError

Predicate = Callable[[Mapping[str, Any]], bool]
_Value = Callable[[Mapping[str, Any]], Any]

_COMPARISONS: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.In: lambda item, items: item in items,
    ast.NotIn: lambda item, items: item not in items,
}
WORDS = {"true": True, "false": False, "null": None}


def parse_where(text: str) -> Predicate:
    """The predicate of an expression; raises when the expression cannot be used."""
    try:
        tree = ast.parse(text.strip(), mode="eval").body
        value = _compile(tree, text)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise _refusal(text, str(error)) from error
    return lambda fields: bool(value(fields))


def fields_of(text: str) -> list[str]:
    """The fields that an expression needs to exist, dotted; those compared with `null` need not."""
    tree = ast.parse(text.strip(), mode="eval").body
    needed: list[str] = []

    def collect(node: ast.AST) -> None:
        match node:
            case ast.Name(id=name) if name in WORDS:
                return
            case ast.Name() | ast.Attribute():
                needed.append(ast.unparse(node))
            case ast.Compare(left=left, comparators=right) if any(map(_is_null, (left, *right))):
                optional.update(ast.unparse(side) for side in (left, *right))
            case _:
                for child in ast.iter_child_nodes(node):
                    collect(child)

    optional: set[str] = set()
    collect(tree)
    return [name for name in dict.fromkeys(needed) if name not in optional]


def _is_null(node: ast.expr) -> bool:
    match node:
        case ast.Constant(value=None) | ast.Name(id="null"):
            return True
        case _:
            return False


def _compile(node: ast.expr, text: str) -> _Value:
    match node:
        case ast.BoolOp(op=op, values=values):
            parts = [_compile(value, text) for value in values]
            joined = all if isinstance(op, ast.And) else any
            return lambda fields: joined(part(fields) for part in parts)
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            inner = _compile(operand, text)
            return lambda fields: not inner(fields)
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as number)):
            return lambda _: -number
        case ast.Compare(left=left, ops=ops, comparators=comparators):
            return _compile_comparison(left, ops, comparators, text)
        case ast.Constant(value=str() | int() | float() | None as constant):
            return lambda _: constant
        case ast.List(elts=items) | ast.Tuple(elts=items):
            members = [_compile(item, text) for item in items]
            return lambda fields: [member(fields) for member in members]
        case ast.Name() | ast.Attribute():
            return _compile_field(node, text)
    raise _refusal(text, f"`{ast.unparse(node)}` is not understood")


def _compile_comparison(
    left: ast.expr, ops: list[ast.cmpop], comparators: list[ast.expr], text: str
) -> _Value:
    values = [_compile(side, text) for side in (left, *comparators)]
    if any(type(op) not in _COMPARISONS for op in ops):
        raise _refusal(text, "`is` is not understood")
    checks = [_COMPARISONS[type(op)] for op in ops]

    def compare(fields: Mapping[str, Any]) -> bool:
        sides = [value(fields) for value in values]
        try:
            return all(c(a, b) for c, a, b in zip(checks, sides, sides[1:], strict=False))
        except TypeError:
            return False

    return compare


def _compile_field(node: ast.expr, text: str) -> _Value:
    names: list[str] = []
    while isinstance(node, ast.Attribute):
        names.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        raise _refusal(text, f"`{ast.unparse(node)}` is not understood")
    if not names and node.id in WORDS:
        word = WORDS[node.id]
        return lambda _: word
    path = ".".join([node.id, *reversed(names)])
    return lambda fields: value_of(fields, path)


def value_of(fields: Mapping[str, Any], name: str) -> Any:
    """The value of a field, dotted where it is nested; None where there is none."""
    if "." not in name:
        return fields.get(name)
    value: Any = fields
    for each in name.split("."):
        value = value.get(each) if isinstance(value, Mapping) else None
    return value


def _refusal(text: str, reason: str) -> UsageError:
    return UsageError(
        f"`--where '{text}'` cannot be used: {reason}; expected comparisons of the JSON's fields "
        "with `and`, `or`, `not`; write for example --where 'language == \"en\" and dnsmos >= 3'"
    )
