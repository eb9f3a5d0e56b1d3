"""Skipped tests are named in the last lines, and fail the run in CI."""

import os
import subprocess
import sys

import pytest

from tests.support.places import TESTS


@pytest.mark.parametrize(
    ("in_ci", "reason", "exit_code"),
    [
        ("true", "needs chromium", 1),
        ("false", "needs chromium", 0),
        ("true", "needs a CUDA device", 0),
    ],
)
def test_skip_in_ci_is_a_failure_unless_no_ci_machine_has_it(tmp_path, in_ci, reason, exit_code):
    (tmp_path / "conftest.py").write_text((TESTS / "support" / "ci_skips.py").read_text())
    (tmp_path / "test_it.py").write_text(
        f"import pytest\ndef test_fine(): pass\n@pytest.mark.skip(reason={reason!r})\n"
        "def test_skipped(): pass\n"
    )
    out = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)],
        cwd=tmp_path,
        env={**os.environ, "CI": in_ci, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert out.returncode == exit_code
    assert ("test_skipped: Skipped: needs chromium" in out.stdout) == ("chromium" in reason)
