"""Storage on a local disk and on a real S3 server."""

import errno
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fsspec.implementations.local import LocalFileSystem

from pipeline.corpus.listing import expand_braces, list_shards
from pipeline.corpus.rules import ReadRules
from pipeline.errors import InputError, RefusedError, UsageError
from pipeline.storage.client import Storage
from pipeline.storage.location import check_no_secret, mirror_path, redact
from pipeline.storage.options import read_storage_options
from pipeline.storage.retries import RetryPolicy
from pipeline.worker.worker import ShardWorker
from tests.support.inline_run import worker_settings
from tests.support.s3_server import S3Server
from tests.support.shard_maker import pairs, write_shard
from xy_codec.fake import FakeCodec

FAST = RetryPolicy(attempts=3, first_pause_seconds=0.01)


@pytest.fixture(params=["local", "s3"])
def place(
    request: pytest.FixtureRequest, tmp_path: Path, s3: S3Server
) -> Iterator[tuple[Storage, str]]:
    if request.param == "local":
        yield Storage(), str(tmp_path)
        return
    storage = Storage({"s3": s3.storage_options()}, FAST)
    fs, _ = storage.filesystem("s3://x")
    bucket = f"storage-{time.time_ns()}"
    fs.mkdir(bucket)
    yield storage, f"s3://{bucket}"


def test_what_is_written_is_read_listed_and_deleted(place: tuple[Storage, str]) -> None:
    storage, root = place
    storage.write_finished(f"{root}/a/b.txt", b"0123456789")
    assert storage.read_range(f"{root}/a/b.txt", 2, 5) == b"234"
    (found,) = storage.list_files(f"{root}/a")
    assert (found.url, found.size_bytes) == (f"{root}/a/b.txt", 10)
    assert found == storage.file_info(found.url)
    storage.delete(found.url)
    storage.delete(found.url)
    assert storage.list_files(f"{root}/a") == []


def test_a_listing_sees_what_another_process_just_wrote(place: tuple[Storage, str]) -> None:
    storage, root = place
    assert storage.list_files(root) == []
    storage.write_finished(f"{root}/x", b"1")
    assert len(storage.list_files(root)) == 1
    storage.write_finished(f"{root}/y", b"1")
    assert len(storage.list_files(root)) == 2


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("*/x.tar", ["a/x.tar", "b/x.tar"]),
        ("a/*.tar", ["a/[1].tar", "a/x.tar"]),
        ("a/*", ["a/[1].tar", "a/x.tar", "a/y.txt"]),
        ("a/[[]1].tar", ["a/[1].tar"]),
        ("**/x.tar", ["a/c/x.tar", "a/x.tar", "b/x.tar"]),
        ("a/x.tar/*", []),
        ("none/*.tar", []),
        ("no*/*.tar", []),
    ],
)
def test_a_glob_finds_files_and_no_folders(
    place: tuple[Storage, str], pattern: str, found: list[str]
) -> None:
    storage, root = place
    for name in ("a/x.tar", "a/[1].tar", "a/y.txt", "a/c/x.tar", "b/x.tar"):
        storage.write_finished(f"{root}/{name}", b"1")
    files = storage.glob_files(f"{root}/{pattern}")
    assert [file.url for file in files] == [f"{root}/{name}" for name in found]


def test_no_file_is_missed_whose_folder_could_not_be_listed_at_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("a/x", "b/y", "c/z"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(b"1")
    refused = PermissionError(errno.EACCES, "Permission denied", f"{tmp_path}/c")
    faults: dict[str, list[OSError]] = {
        "b": [OSError(errno.EIO, "Input/output error")],
        "c": [refused, refused],
    }
    listed = LocalFileSystem.ls

    def ls(self: LocalFileSystem, path: str, *args: Any, **options: Any) -> Any:
        if left := faults.get(Path(path).name):
            raise left.pop()
        return listed(self, path, *args, **options)

    monkeypatch.setattr(LocalFileSystem, "ls", ls)
    storage = Storage(policy=FAST)
    found = storage.list_files(str(tmp_path))
    assert [file.url.removeprefix(f"{tmp_path}/") for file in found] == ["a/x", "b/y"]
    assert f"`{tmp_path}/c` is left out" in caplog.text
    faults["c"] = [refused]
    with pytest.raises(RefusedError):
        storage.list_files(f"{tmp_path}/c")


def test_only_one_of_many_creates_a_file(place: tuple[Storage, str]) -> None:
    storage, root = place
    won: list[bool] = []
    threads = [
        threading.Thread(
            target=lambda n=n: won.append(storage.create_exclusive(f"{root}/r", b"%d" % n))
        )
        for n in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(won) == [False] * 7 + [True]
    assert storage.create_exclusive(f"{root}/r", b"late") is False
    assert storage.read_bytes(f"{root}/r") != b"late"


def test_a_missing_file_is_an_input_error(place: tuple[Storage, str]) -> None:
    storage, root = place
    with pytest.raises(InputError, match=r"none\.txt"):
        storage.read_bytes(f"{root}/none.txt")


def test_shards_in_a_bucket_become_parts_in_the_bucket(s3: S3Server, tmp_path: Path) -> None:
    storage = Storage({"s3": s3.storage_options()}, FAST)
    fs, _ = storage.filesystem("s3://x")
    bucket = f"line-{time.time_ns()}"
    fs.mkdir(bucket)
    for n in range(2):
        tar = write_shard(tmp_path / f"s{n}.tar", pairs(3, prefix=f"s{n}-"))
        storage.write_finished(f"s3://{bucket}/Emilia/EN/s{n}.tar", tar)
    shards = list_shards([f"s3://{bucket}/Emilia/EN/s{{0..1}}.tar"], storage)
    assert [shard.path for shard in shards] == ["Emilia/EN/s0.tar", "Emilia/EN/s1.tar"]
    local = worker_settings(tmp_path, ReadRules())
    settings = type(local)(f"s3://{bucket}/out", local.identity, local.rules, storage, local.tuning)
    outcomes = list(ShardWorker(settings, FakeCodec()).run(iter(shards)))
    assert [outcome.fault for outcome in outcomes] == [None, None]
    names = [
        file.url.removeprefix(f"s3://{bucket}/out/") for file in storage.list_files(settings.output)
    ]
    assert sum(name.startswith("tokens/Emilia/EN/") for name in names) == 2
    assert sum(name.startswith("manifests/Emilia/EN/") for name in names) == 2


def test_a_shard_is_found_whatever_letters_its_name_has(s3: S3Server, tmp_path: Path) -> None:
    names = ["what?.tar", "q?part=1.tar", "a#b.tar", "a%20b.tar", "a b+c&d.tar", "a[1]*.tar"]
    storage = Storage({"s3": s3.storage_options()})
    fs, _ = storage.filesystem("s3://x")
    bucket = f"names-{time.time_ns()}"
    fs.mkdir(bucket)
    tar = write_shard(tmp_path / "x.tar", pairs(1)).read_bytes()
    for name in names:
        fs.pipe_file(f"{bucket}/in/{name}", tar)
    shards = list_shards([f"s3://{bucket}/in"], storage)
    assert {shard.path for shard in shards} == {f"in/{name}" for name in names}
    assert all(storage.file_info(shard.url) == shard.stored for shard in shards)


def test_a_shard_whose_name_is_no_utf8_is_refused_before_any_work(tmp_path: Path) -> None:
    tar = write_shard(tmp_path / "x.tar", pairs(1))
    tar.rename(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.tar"))
    with pytest.raises(
        UsageError, match=r"1 shard has a name .*\n.*caf\\udce9\.tar`\nexpected UTF-8"
    ):
        list_shards([str(tmp_path)], Storage())


def test_urls_lose_their_secrets_before_they_are_shown() -> None:
    assert redact("https://u:p@host/a.tar?X-Amz-Signature=1") == "https://host/a.tar"
    assert redact("abfs://box/a.tar?sv=2024&sig=1") == "abfs://box/a.tar"
    assert redact("s3://bucket/q?part=1.tar") == "s3://bucket/q?part=1.tar"
    assert redact("s3://u:p@bucket/why?.tar") == "s3://bucket/why?.tar"
    with pytest.raises(UsageError) as refusal:
        check_no_secret("s3://key:hush@bucket/a")
    assert "hush" not in str(refusal.value)


def test_options_with_secrets_are_not_in_the_storage_as_shown(tmp_path: Path) -> None:
    (tmp_path / "o.yaml").write_text("s3: {key: AKIA, secret: hush}\n")
    options = read_storage_options(f"@{tmp_path}/o.yaml")
    assert options["s3"]["secret"] == "hush"
    assert "hush" not in repr(Storage(options))
    (tmp_path / "bad.yaml").write_text("secret: [hush\n")
    with pytest.raises(UsageError) as refusal:
        read_storage_options(f"@{tmp_path}/bad.yaml")
    assert "hush" not in str(refusal.value)


@pytest.mark.parametrize(
    ("url", "root", "path"),
    [
        ("s3://bucket/Emilia/EN/a.tar", "", "Emilia/EN/a.tar"),
        ("s3://bucket/Emilia/EN/a.tar", "Emilia", "EN/a.tar"),
        ("https://host/x/a.tar?sig=1", "", "x/a.tar"),
        ("s3://bucket/why?.tar", "", "why?.tar"),
        ("s3://bucket/x/../../../etc/a.tar", "", "etc/a.tar"),
        ("s3://bucket/./x//a.tar", "", "x/a.tar"),
        ("hf://datasets/owner/name/EN/a.tar", "", "EN/a.tar"),
        ("/data/EN/a.tar", "", "data/EN/a.tar"),
        ("/data/EN/a.tar", "/data", "EN/a.tar"),
    ],
)
def test_outputs_mirror_what_follows_the_bucket(url: str, root: str, path: str) -> None:
    assert mirror_path(url, root) == path


@pytest.mark.parametrize(
    ("text", "expanded"),
    [
        ("a{0..2}", ["a0", "a1", "a2"]),
        ("a{9..10}", ["a9", "a10"]),
        ("{0..10}", [*"0123456789", "10"]),
        ("{00..2}", ["00", "01", "02"]),
        ("a{008..010}.tar", ["a008.tar", "a009.tar", "a010.tar"]),
        ("{x,y{1..2}}z", ["xz", "y1z", "y2z"]),
        ("{3..1}", ["3", "2", "1"]),
        ("{x}", ["{x}"]),
        ("a{b", ["a{b"]),
    ],
)
def test_braces_expand_as_in_a_shell(text: str, expanded: list[str]) -> None:
    assert list(expand_braces(text)) == expanded
