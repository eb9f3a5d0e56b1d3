"""What tests of the house read: the project's Python files, their imports and functions."""

import ast
from collections.abc import Iterator
from pathlib import Path

from tests.support.places import ROOT

# `xytok` is the file `xytok.py` here, and a package in the wheel.
PACKAGES = ("xy_codec", "pipeline", "jobs", "xytok")
CODE_FOLDERS = (*PACKAGES, "tests", "docker")


def python_files(*names: str) -> list[Path]:
    """The files of folders, and of packages that are one file."""
    files = [path for name in names for path in (ROOT / name).rglob("*.py")]
    return sorted([*files, *(ROOT / f"{name}.py" for name in names if not (ROOT / name).exists())])


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), str(path))


def imported_modules(tree: ast.AST) -> Iterator[str]:
    """Every module named in an import anywhere in the file, functions included."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"relative import on line {node.lineno}"
            yield str(node.module)


def imported_names(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """The module and name of every `from module import name`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            yield from ((str(node.module), alias.name) for alias in node.names)


def modules_at_start(path: Path) -> set[str]:
    """The modules imported as soon as this one is: not in functions, not for type checkers."""
    found: set[str] = set()
    pending: list[ast.AST] = list(parse(path).body)
    while pending:
        node = pending.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(str(node.module))
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
        pending.extend(ast.iter_child_nodes(node))
    return found
