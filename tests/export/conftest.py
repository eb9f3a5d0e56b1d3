"""One small run for all tests of exports."""

from pathlib import Path

import pytest

from tests.support.export_run import make_export_run


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output of a run with the fake codec; tests do not change it."""
    return make_export_run(tmp_path_factory.mktemp("export"))
