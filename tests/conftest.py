"""Fixtures that several test files share."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

# Before any test multiplies with torch: importing it sets how MKL rounds.
import xy_codec  # noqa: F401

# Pytest finds hooks by their names here.
from tests.support.ci_skips import (  # noqa: F401
    pytest_collectreport,
    pytest_runtest_logreport,
    pytest_sessionfinish,
    pytest_terminal_summary,
)
from tests.support.s3_server import S3Server, s3_server
from tests.support.shard_maker import pairs, write_shard


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """One real S3 server for every test of the session; tests use buckets of their own."""
    with s3_server(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """A folder with three small shards below `in`."""
    for n in range(3):
        write_shard(tmp_path / f"in/s{n}.tar", pairs(4, prefix=f"s{n}-"))
    return tmp_path


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """A folder whose path leaves room for the sockets that Ray puts into it."""
    with tempfile.TemporaryDirectory(prefix="xr", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Name bytes by their argument; what libsndfile writes depends on the time."""
    return argname if isinstance(val, bytes) else None
