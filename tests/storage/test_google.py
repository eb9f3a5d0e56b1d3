"""`gs://` through gcsfs on a local server of the Cloud Storage API, and protocols not installed."""

import sys
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from fsspec.registry import _registry

from pipeline.errors import InputError, StorageError, UsageError
from pipeline.storage.client import Storage
from pipeline.storage.retries import RetryPolicy
from tests.support.fault_proxy import fault_proxy
from tests.support.gs_server import gs_server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a server with the bucket `speech`."""
    with (
        pytest.MonkeyPatch.context() as patch,
        gs_server(tmp_path_factory.mktemp("gs")) as url,
    ):
        # By default gcsfs asks for a bucket's kind over gRPC, which this server does not speak.
        patch.setenv("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
        storage(url).filesystem("gs://speech")[0].mkdir("speech")
        yield url


def storage(url: str, tries: int = 3) -> Storage:
    options = {"token": "anon", "endpoint_url": url}
    return Storage({"gs": options}, RetryPolicy(tries, first_pause_seconds=0.01))


def test_what_is_written_is_read_listed_created_once_and_deleted(server: str) -> None:
    google = storage(server)
    google.write_finished("gs://speech/a/b.txt", b"0123456789")
    assert google.read_range("gs://speech/a/b.txt", 2, 5) == b"234"
    (found,) = google.list_files("gs://speech/a")
    assert (found.url, found.size_bytes) == ("gs://speech/a/b.txt", 10)
    assert google.glob_files("gs://speech/a/*.txt") == [found] == [google.file_info(found.url)]
    assert google.create_exclusive("gs://speech/run.json", b"mine")
    assert not google.create_exclusive("gs://speech/run.json", b"another's")
    google.delete(found.url)
    google.delete(found.url)
    assert google.list_files("gs://speech/a") == []
    with pytest.raises(InputError, match="found nothing there"):
        google.read_bytes("gs://speech/none")


def test_tries_of_gcsfs_and_ours_do_not_multiply(
    server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def at_once(seconds: float) -> None:
        return None

    with fault_proxy(server) as proxy:
        proxy.faults.rule = lambda method, path, number: "500"
        # gcsfs waits for half a minute between its tries.
        monkeypatch.setattr("gcsfs.retry.asyncio", SimpleNamespace(sleep=at_once))
        with pytest.raises(StorageError, match="failed 2 times"):
            storage(proxy.url, tries=12).read_range("gs://speech/a", 0, 4)
        assert len(proxy.faults.seen) == 12


@pytest.mark.parametrize(
    ("url", "module", "line"),
    [
        ("gs://bucket/k", "gcsfs", "`pip install 'xytok[gs]'`"),
        ("az://bucket/k", "adlfs", "`pip install adlfs`"),
        ("oci://bucket/k", "ocifs", "`pip install ocifs`"),
        ("sftp://host/k", "paramiko", 'requires "paramiko"'),
    ],
)
def test_a_protocol_without_its_package_names_the_line_that_installs_it(
    monkeypatch: pytest.MonkeyPatch, url: str, module: str, line: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.delitem(_registry, url.partition(":")[0], raising=False)
    with pytest.raises(UsageError) as refusal:
        Storage().read_bytes(url)
    assert line in str(refusal.value)
