"""The demo as `make demo` runs it: codes, scores and a page."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.places import ROOT


@pytest.mark.slow
def test_demo_ends_with_scores_and_a_page(tmp_path):
    out = subprocess.run(
        ["bash", ".ci/demo"],
        cwd=ROOT,
        env={**os.environ, "BIN": str(Path(sys.executable).parent), "OUT": str(tmp_path / "out")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert out.returncode == 0, out.stdout[-2000:] + out.stderr[-2000:]
    assert len(re.findall(r"^\S+_W\d+ +[a-z]{2} ", out.stdout, re.M)) == 7
    page = re.search(r"76 clips are codes in .*; open (.*/report\.html)", out.stdout)
    assert page is not None
    assert Path(page[1]).stat().st_size > 10_000


def test_makefile_lists_every_target_it_has():
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z][a-z-]*%?):", makefile, re.M))
    # Under `make test` the inner make would greet as a sub-make.
    outside = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    shown = subprocess.run(
        ["make", "help"], cwd=ROOT, env=outside, capture_output=True, text=True, check=True
    )
    assert targets == {line.split()[0] for line in shown.stdout.splitlines() if line}
