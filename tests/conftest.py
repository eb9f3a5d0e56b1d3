"""Fixtures that several test files share."""

from collections.abc import Iterator

import pytest

# Pytest finds hooks by their names here.
from ci_skips import (  # noqa: F401
    pytest_collectreport,
    pytest_runtest_logreport,
    pytest_sessionfinish,
    pytest_terminal_summary,
)
from s3_server import S3Server, s3_server


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """One real S3 server for every test of the session; tests use buckets of their own."""
    with s3_server(tmp_path_factory.mktemp("s3")) as server:
        yield server
