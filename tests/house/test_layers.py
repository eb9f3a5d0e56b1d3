"""Imports point one way: between packages, between the rooms of a package, and never in a circle.

All imports count, those inside functions and below `TYPE_CHECKING` too.
"""

import subprocess
import sys
from graphlib import TopologicalSorter

import pytest

from tests.support.places import ROOT, TESTS
from tests.support.source_tree import (
    PACKAGES,
    import_graph,
    imported_names,
    module_name,
    python_files,
)

FORBIDDEN = {
    "xy_codec": {"pipeline", "jobs", "xytok", "tests", "ray", "pyarrow"},
    "pipeline": {"jobs", "xytok", "tests"},
    "jobs": {"xytok", "tests"},
    "xytok": {"jobs", "tests"},
}
# The folders and files of a package, lowest first: each may import those before it.
ROOMS = {
    "pipeline": (
        "errors", "plural", "storage", "corpus", "output", "worker", "fleet", "read", "inspect",
        "export", "audit", "training", "bench", "evaluate",
    ),
    "xy_codec": (
        "mkl_mode", "errors", "nearest_name", "validation", "codes_shape", "inputs", "options",
        "contract", "torchaudio_import", "mp3_frames", "audio", "weights", "catalogue", "fake",
        "blocks", "engine", "xy", "moss", "secousti", "hub", "loading", "training",
    ),
}  # fmt: skip


@pytest.mark.parametrize("package", PACKAGES)
def test_package_imports_nothing_above_it(package):
    wrong = [
        f"{module_name(path)} imports {name}"
        for path in python_files(package)
        for name in imported_names(path)
        if name.split(".")[0] in FORBIDDEN[package]
    ]
    assert not wrong


@pytest.mark.parametrize("package", ROOMS)
def test_room_imports_only_rooms_before_it(package):
    floors = {room: floor for floor, room in enumerate(ROOMS[package])}
    wrong = [
        f"{importer} imports {imported}"
        for importer, imported in imports_inside(package)
        if floors[room_of(imported)] > floors[room_of(importer)]
    ]
    assert not wrong


@pytest.mark.parametrize("package", ROOMS)
def test_every_room_has_its_place_in_the_order(package):
    entries = {path.stem for path in (ROOT / package).glob("*.py")}
    entries |= {path.parent.name for path in (ROOT / package).glob("*/__init__.py")}
    assert entries - {"__init__"} == set(ROOMS[package])


def imports_inside(package: str) -> list[tuple[str, str]]:
    """Who imports whom in one package; its own `__init__.py` may import everything."""
    modules = [module for module in import_graph() if module.startswith(f"{package}.")]
    pairs = [(module, imported) for module in modules for imported in import_graph()[module]]
    return [(module, imported) for module, imported in pairs if imported in modules]


def room_of(module: str) -> str:
    return module.split(".")[1]


def test_no_import_cycles():
    TopologicalSorter(import_graph()).prepare()  # raises CycleError naming the cycle


def test_siblings_are_imported_by_file():
    wrong = [
        f"{importer} imports from {package}/__init__.py"
        for package in PACKAGES
        for importer, imported in import_graph().items()
        if importer.startswith(f"{package}.") and package in imported
    ]
    assert not wrong


def test_no_test_imports_a_test():
    wrong = [
        f"{importer} imports {imported}"
        for importer, modules in import_graph().items()
        for imported in modules
        if imported.startswith("tests.") and is_test(imported)
    ]
    assert not wrong


def is_test(module: str) -> bool:
    return module.rpartition(".")[2].startswith(("test_", "conftest"))


def test_folders_of_tests_carry_the_names_of_rooms():
    folders = {path.parent.relative_to(TESTS).as_posix() for path in TESTS.rglob("test_*.py")}
    rooms = {room for rooms in ROOMS.values() for room in rooms}
    assert folders <= rooms | {*PACKAGES, "xytok", "house", "gpu"}


@pytest.mark.parametrize("command", ["--help", "--version"])
def test_command_starts_without_heavy_imports(command):
    code = (
        "import sys, jobs.cli\n"
        f"try: jobs.cli.run([{command!r}])\n"
        "except SystemExit: pass\n"
        "print(sorted({'torch', 'ray', 'pyarrow', 'numpy', 'transformers'} & set(sys.modules)))"
    )
    out = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert out.stdout.splitlines()[-1] == "[]"
