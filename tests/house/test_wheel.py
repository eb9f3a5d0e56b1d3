"""What is installed is what works: the wheel in clean environments, outside the checkout."""

import json
import os
import re
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

from tests.support.places import ROOT
from tests.support.source_tree import PACKAGES, module_name, python_files

TEMPLATES = {
    path.relative_to(ROOT).as_posix() for path in (ROOT / "pipeline").rglob("templates/*.*")
}
SHARD = ROOT / "tests/speech/Emilia/IT/IT-B000000.tar"


def run(*command: str | Path, cwd: Path, **variables: str) -> str:
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | variables
    out = subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
    assert out.returncode == 0, f"{command}\n{out.stdout[-2000:]}\n{out.stderr[-4000:]}"
    return out.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    build = ["-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    run(sys.executable, *build, cwd=folder)
    (made,) = folder.glob("xytok-*.whl")
    return made


def test_wheel_holds_every_module_the_checkpoint_and_the_licence(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    modules = {path.relative_to(ROOT).as_posix() for path in python_files(*PACKAGES)}
    assert modules - {"xytok.py"} | {"xytok/__init__.py"} <= names
    assert len(TEMPLATES) > 5
    assert names >= TEMPLATES
    assert {f"{package}/py.typed" for package in PACKAGES} <= names
    assert not {name.split("/")[0] for name in names} - {*PACKAGES, _dist_info(names)}
    assert f"{_dist_info(names)}/licenses/LICENSE" in names
    checkpoint = "xy_codec/checkpoints/xy-nano"
    assert {f"{checkpoint}/{n}" for n in ("config.yaml", "model.safetensors", "CARD.md")} <= names


def test_wheel_stays_small(wheel):
    # The checkpoint may have 40 MB, a speaker model 28 MB; code and the rest are small.
    assert wheel.stat().st_size < 80e6


def test_no_module_is_missing_an_init():
    packages = {module_name(path).rpartition(".")[0] for path in python_files(*PACKAGES)} - {""}
    assert not [p for p in packages if not (ROOT / p.replace(".", "/") / "__init__.py").exists()]


def _dist_info(names: set[str]) -> str:
    return next(name.split("/")[0] for name in names if ".dist-info/" in name)


READ_CODES = """
import sys
from xytok import open_dataset
rows = list(open_dataset(sys.argv[1]))
assert {row.codes.shape[0] for row in rows} == {8}
assert not {"torch", "ray", "numpy", "transformers"} & set(sys.modules)
print(len(rows))
"""


PACK_CODE = """
import sys
from pathlib import Path
from pipeline.fleet.ray.submission import pack_code
pack_code(Path(sys.argv[1]))
"""

USE_TYPES = """
from typing import assert_type

import xytok

run = xytok.tokenize(["a.tar", "b.tar"], "out", codec="fake", max_shards=3)
assert_type(run, xytok.Run)
assert_type(run.verify().is_clean, bool)
assert_type(run.audit().folder, str)
row = next(iter(xytok.open_dataset("out", columns=("text",))))
assert_type(row.codes, memoryview)
xytok.open_dataset("out", colunms=("text",))
xytok.tokenize("a.tar", "out")
xytok.load_codec(3)
xytok.load_codek
"""


def check_types(python: Path, folder: Path) -> None:
    """Hold a user's file to the types of the installed wheel: its last four lines are wrong."""
    (folder / "use.py").write_text(USE_TYPES)
    command = [sys.executable, "-m", "mypy", "--strict", "--python-executable", str(python)]
    out = subprocess.run(
        [*command, "use.py"], cwd=folder, capture_output=True, text=True, check=False
    )
    lines = re.findall(r"^use\.py:(\d+): error:", out.stdout, re.M)
    count = len(USE_TYPES.splitlines())
    assert [int(line) for line in lines] == [*range(count - 3, count + 1)], out.stdout


@pytest.mark.slow
def test_codes_are_read_with_nothing_but_pyarrow_and_fsspec(wheel, tmp_path):
    out = tmp_path / "out"
    xytok = Path(sys.executable).with_name("xytok")
    run(xytok, "tokenize", SHARD, out, "--codec", "fake", "--engine", "inline", cwd=tmp_path)
    venv.create(tmp_path / "trainer", with_pip=True)
    python = tmp_path / "trainer/bin/python"
    pins = str(ROOT / "constraints.txt")
    run(python, "-m", "pip", "install", "-q", "-c", pins, "pyarrow", "fsspec", cwd=tmp_path)
    run(python, "-m", "pip", "install", "-q", "--no-deps", wheel, cwd=tmp_path)
    assert int(run(python, "-c", READ_CODES, str(out), cwd=tmp_path)) == 10
    check_types(python, tmp_path)
    (tmp_path / "job").mkdir()
    run(python, "-c", PACK_CODE, "job", cwd=tmp_path)
    assert run(python, "-c", "import xytok; print(xytok.__file__)", cwd=tmp_path / "job").endswith(
        "/job/xytok/__init__.py\n"
    )
    assert all((tmp_path / "job" / name).exists() for name in TEMPLATES)
    run(python, "-m", "pip", "install", "-q", "--no-deps", "-e", ROOT, cwd=tmp_path)
    where = run(python, "-c", "import xytok; print(xytok.__file__)", cwd=tmp_path)
    assert where == f"{ROOT}/xytok.py\n"


@pytest.mark.slow
def test_the_image_s_installation_tokenizes_and_audits_a_shard(tmp_path):
    run("sh", ROOT / "docker/install.sh", ROOT, tmp_path / "venv", cwd=tmp_path)
    xytok = tmp_path / "venv/bin/xytok"
    checks = json.loads(run(xytok, "doctor", "--json", "--codec", "xy-nano", cwd=tmp_path))
    assert not [check for check in checks if check["verdict"] == "fault"]
    run(xytok, "tokenize", SHARD, "out", "--codec", "xy-nano", "--engine", "inline", cwd=tmp_path)
    assert "10" in run(xytok, "status", "out", cwd=tmp_path)
