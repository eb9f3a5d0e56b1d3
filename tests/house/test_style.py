"""The rules of CONTRIBUTING.md that no linter checks."""

import itertools
import re
import subprocess
import sys
import tomllib

import pytest

from tests.support.places import ROOT
from tests.support.source_tree import (
    CODE_FOLDERS,
    python_files,
)

VAGUE_NAMES = {"utils", "util", "helpers", "helper", "common", "base", "core", "manager", "misc"}
TOP_LEVEL_FOLDERS = {"xy_codec", "pipeline", "jobs", "tests", "docker"}
TOP_LEVEL_FILES = {
    "pyproject.toml",
    "README.md",
    "Makefile",
    "LICENSE",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "xytok.py",
    "constraints.txt",
}


def tracked_files() -> list[str]:
    out = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if out.returncode:
        pytest.skip("not a git checkout")
    return out.stdout.splitlines()


def test_top_level_holds_nothing_else():
    entries = {name.split("/")[0] for name in tracked_files() if not name.startswith(".")}
    assert entries <= TOP_LEVEL_FOLDERS | TOP_LEVEL_FILES


def test_names_of_files_and_folders_say_what_is_inside():
    paths = [path.relative_to(ROOT).with_suffix("") for path in python_files(*CODE_FOLDERS)]
    words = {path: set("_".join(path.parts).split("_")) for path in paths}
    assert not [str(path) for path in paths if words[path] & VAGUE_NAMES]


def test_names_of_files_shadow_no_standard_module():
    files = python_files(*CODE_FOLDERS)
    assert not [str(path) for path in files if path.stem in sys.stdlib_module_names]


def test_pins_say_why_and_cover_every_requirement():
    constraints = (ROOT / "constraints.txt").read_text()
    for paragraph in constraints.strip().split("\n\n"):
        assert paragraph.startswith("# "), f"no reason above `{paragraph.splitlines()[0]}`"
    pinned = {line.split("==")[0].lower().replace("_", "-") for line in constraints.split("\n")}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [project["dependencies"], *project["optional-dependencies"].values()]
    entries = itertools.chain.from_iterable(wanted)
    names = {re.split(r"[\[>=<~ ;]", entry)[0].lower().replace("_", "-") for entry in entries}
    assert not names - pinned


def test_nothing_is_left_for_later():
    marks = ("TO" + "DO", "FIX" + "ME", "XX" + "X ")
    left = [
        f"{path.relative_to(ROOT)}: {line.strip()}"
        for path in python_files(*CODE_FOLDERS)
        for line in path.read_text().splitlines()
        if any(mark in line for mark in marks)
    ]
    assert not left


def test_contributing_names_files_that_exist():
    text = (ROOT / "CONTRIBUTING.md").read_text()
    named = set(re.findall(r"[`/ ]([a-z_]+(?:/[a-z_]+)*\.py)\b", text))
    there = {f"/{name}" for name in tracked_files()}
    assert len(named) > 30
    assert not [name for name in named if not any(path.endswith(f"/{name}") for path in there)]


@pytest.mark.parametrize("package", ["xy_codec", "pipeline", "jobs"])
def test_no_package_reads_parquet_by_datasets(package: str) -> None:
    # Its threads now and then end a command with SIGABRT; `ParquetFile` reads without them.
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in python_files(package)
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if "pq.read_table(" in line
    ]
    assert not found
