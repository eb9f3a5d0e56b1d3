"""The import direction holds: jobs or xytok → pipeline → xy_codec, and no cycles anywhere."""

import subprocess
import sys
from graphlib import TopologicalSorter

import pytest

from tests.support.places import ROOT
from tests.support.source_tree import (
    PACKAGES,
    imported_modules,
    imported_names,
    module_name,
    modules_at_start,
    parse,
    python_files,
)

FORBIDDEN = {
    "xy_codec": {"pipeline", "jobs", "xytok", "tests", "ray", "pyarrow"},
    "pipeline": {"jobs", "xytok", "tests"},
    "jobs": {"xytok", "tests"},
    "xytok": {"jobs", "tests"},
}


@pytest.mark.parametrize("package", PACKAGES)
def test_package_imports_nothing_above_it(package):
    wrong = [
        f"{path.relative_to(ROOT)} imports {module}"
        for path in python_files(package)
        for module in imported_modules(parse(path))
        if module.split(".")[0] in FORBIDDEN[package]
    ]
    assert not wrong


def test_no_import_cycles():
    files = {module_name(path): path for path in python_files(*PACKAGES)}
    graph = {
        name: {module for module in modules_at_start(path) if module in files and module != name}
        for name, path in files.items()
    }
    TopologicalSorter(graph).prepare()  # raises CycleError naming the cycle


def test_siblings_are_imported_by_file():
    wrong = [
        f"{path.relative_to(ROOT)} takes {name} from {module}"
        for path in python_files(*PACKAGES)
        for module, name in imported_names(parse(path))
        if module == module_name(path).split(".")[0] and not _is_module(module, name)
    ]
    assert not wrong


def _is_module(package: str, name: str) -> bool:
    return (ROOT / package / f"{name}.py").exists() or (ROOT / package / name).is_dir()


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
