"""What tests of the house read: the project's Python files, and which of them import which."""

import ast
from collections.abc import Iterator
from functools import cache
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


def imported_names(path: Path) -> Iterator[str]:
    """The dotted name behind every import, functions and `TYPE_CHECKING` blocks included.

    `import a.b` gives `a.b`. `from a.b import c` gives `a.b.c`, whether `c` is a module or a name.
    """
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno} is a relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@cache
def import_graph() -> dict[str, frozenset[str]]:
    """The project's modules that each of the project's modules imports.

    A package is the module of its `__init__.py`. That importing `a.b` also runs `a/__init__.py` is
    not an edge.
    """
    files = [*python_files(*CODE_FOLDERS), *ROOT.glob("*.py")]
    names = {module_name(path): set(imported_names(path)) for path in files}
    return {
        importer: frozenset(_module_of(name, set(names)) for name in imported) - {importer, ""}
        for importer, imported in names.items()
    }


def _module_of(name: str, modules: set[str]) -> str:
    """The module that `name` is or is taken from; empty where it is not the project's."""
    parent = name.rpartition(".")[0]
    return next((candidate for candidate in (name, parent) if candidate in modules), "")
