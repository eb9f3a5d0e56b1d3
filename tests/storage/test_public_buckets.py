"""Shards that others offer: public buckets, buckets whose reader pays, plain web servers."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from jobs import cli
from pipeline.storage import streams
from pipeline.storage.client import Storage
from tests.support.fault_proxy import FaultProxy, fault_proxy
from tests.support.s3_server import PUBLIC_BUCKET, S3Server
from tests.support.shard_maker import pairs, tar_bytes

NUM_SHARDS = 2
ARCHIVE = f"{PUBLIC_BUCKET}/Emilia/EN"


@pytest.fixture(scope="module")
def archive(s3: S3Server) -> S3Server:
    """The server, with shards in its public bucket."""
    storage = Storage({"s3": s3.storage_options()})
    storage.filesystem("s3://x")[0].mkdir(PUBLIC_BUCKET)
    for n in range(NUM_SHARDS):
        tar = tar_bytes(pairs(3, 0.5, prefix=f"s{n}-"))
        storage.write_finished(f"s3://{ARCHIVE}/{n}.tar", tar)
    return s3


@pytest.fixture
def proxy(archive: S3Server) -> Iterator[FaultProxy]:
    with fault_proxy(archive.url) as proxy:
        yield proxy


def tokenize(shards: str, folder: Path, options: dict[str, Any] | None = None) -> int:
    words = ["tokenize", shards, str(folder / "out"), "--codec", "fake", "--engine", "inline"]
    if options is not None:
        (folder / "storage.json").write_text(json.dumps({"s3": options}))
        words += ["--storage-options", f"@{folder}/storage.json"]
    return cli.run([*words, "--quiet"])


def keys(folder: Path) -> list[str]:
    return sorted(k for p in folder.glob("out/tokens/**/*.parquet") for k in keys_of(p))


def keys_of(part: Path) -> list[str]:
    return [str(key) for key in pq.read_table(part)["key"].to_pylist()]


EXPECTED = [f"s{n}-{m:04d}" for n in range(NUM_SHARDS) for m in range(3)]


def test_a_public_bucket_is_read_without_credentials(
    proxy: FaultProxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "must-not-be-used")
    options = {"anon": True, "client_kwargs": {"endpoint_url": proxy.url}}
    assert tokenize(f"s3://{ARCHIVE}/*.tar", tmp_path, options) == 0
    assert keys(tmp_path) == EXPECTED
    assert not [headers for *_, headers in proxy.faults.seen if "authorization" in headers]


def test_a_private_bucket_without_credentials_is_a_clear_error(
    archive: S3Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = {"anon": True, "client_kwargs": {"endpoint_url": archive.url}}
    assert tokenize("s3://ready/*.tar", tmp_path, options) == 1
    error = capsys.readouterr().err
    assert "was refused" in error
    assert "--storage-options @FILE" in error


def test_every_request_to_a_bucket_says_that_its_reader_pays(
    archive: S3Server, proxy: FaultProxy, tmp_path: Path
) -> None:
    options = archive.storage_options(proxy.url) | {"requester_pays": True}
    assert tokenize(f"s3://{ARCHIVE}/*.tar", tmp_path, options) == 0
    assert keys(tmp_path) == EXPECTED
    asked = [headers.get("x-amz-request-payer") for *_, headers in proxy.faults.seen]
    assert len(asked) > NUM_SHARDS
    assert set(asked) == {"requester"}


def test_shards_of_a_web_server_are_read_by_ranges(
    proxy: FaultProxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "BLOCK_BYTES", 4096)
    assert tokenize(f"{proxy.url}/{ARCHIVE}/{{0..1}}.tar", tmp_path) == 0
    assert keys(tmp_path) == EXPECTED
    assert sorted(tmp_path.glob("out/tokens/public/Emilia/EN/*.parquet"))
    ranges = [headers["range"] for method, _, headers in proxy.faults.seen if method == "GET"]
    assert {"bytes=0-4095", "bytes=4096-8191"} <= set(ranges)


def test_a_rerun_from_a_web_server_does_nothing(proxy: FaultProxy, tmp_path: Path) -> None:
    url = f"{proxy.url}/{ARCHIVE}/{{0..1}}.tar"
    assert tokenize(url, tmp_path) == 0
    proxy.faults.seen.clear()
    assert tokenize(url, tmp_path) == 0
    assert {method for method, *_ in proxy.faults.seen} == {"HEAD"}


def test_a_missing_file_on_a_web_server_is_named(
    archive: S3Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert tokenize(f"{archive.url}/{ARCHIVE}/nine.tar", tmp_path) == 2
    assert "nine.tar" in capsys.readouterr().err
