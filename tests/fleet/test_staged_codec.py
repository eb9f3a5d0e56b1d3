"""A codec from the hub is fetched once, put into the output's bucket, and loaded from there."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.storage.client import Storage
from pipeline.worker.codec_request import CodecRequest
from pipeline.worker.staged_codec import find_staged, stage_codec
from tests.support.hub_server import REVISION, Hub, hub_server
from tests.support.ray_runs import RayRun, make_shards, ray_cluster_of
from tests.support.s3_server import S3Server
from tests.support.tiny_codecs import MAKERS
from xy_codec import load_codec

REPOSITORY = "some/codec"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return MAKERS["dac"](tmp_path_factory.mktemp("dac"))


@pytest.fixture
def hub(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with hub_server() as server:
        files = [path for path in folder.rglob("*") if path.is_file()]
        server.files = {str(path.relative_to(folder)): path.read_bytes() for path in files}
        constants = "huggingface_hub.constants"
        monkeypatch.setattr(f"{constants}.ENDPOINT", server.url)
        resolve = f"{server.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr(f"{constants}.HUGGINGFACE_CO_URL_TEMPLATE", resolve)
        monkeypatch.setattr(f"{constants}.HF_HUB_CACHE", str(tmp_path / "hub"))
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        yield server


def bucket_of(s3: S3Server) -> Storage:
    storage = Storage({"s3": s3.storage_options()})
    storage.filesystem("s3://codes")[0].makedirs("codes", exist_ok=True)
    return storage


def test_the_bucket_has_the_repository_for_every_later_node_and_run(
    hub: Hub, s3: S3Server, folder: Path, tmp_path: Path
) -> None:
    storage, output = bucket_of(s3), "s3://codes/one"
    staged = stage_codec(REPOSITORY, output, storage)
    assert staged is not None
    assert REVISION in staged.content
    hub.refuses = True  # from now on nobody gets anything there
    assert stage_codec(REPOSITORY, output, storage) == staged
    request = CodecRequest(REPOSITORY, staged=find_staged(REPOSITORY, output, storage))
    loaded = request.load()
    # Its name is the repository's and not a folder's.
    assert loaded.identity == load_codec(folder).identity
    placed = sorted((tmp_path / "cache").rglob("*.safetensors"))
    assert [path.read_bytes() for path in placed] == [hub.files["model.safetensors"]]
    # A second worker of the node takes what the first one fetched.
    s3.stop()
    assert request.load().identity == loaded.identity
    s3.start()


def test_other_codecs_and_folders_are_not_copied(s3: S3Server, tmp_path: Path) -> None:
    storage = bucket_of(s3)
    assert stage_codec("xy-nano", "s3://codes/two", storage) is None
    assert stage_codec(REPOSITORY, str(tmp_path), storage) is None
    assert storage.list_files("s3://codes/two") == []


def test_a_driver_without_the_hub_leaves_it_to_the_workers(
    hub: Hub, s3: S3Server, caplog: pytest.LogCaptureFixture
) -> None:
    hub.refuses = True
    storage = bucket_of(s3)
    assert stage_codec(REPOSITORY, "s3://codes/three", storage) is None
    assert "The workers fetch the codec themselves, because here: Codec `some/codec`" in caplog.text
    assert storage.list_files("s3://codes/three") == []


@pytest.mark.slow
def test_workers_of_a_cluster_ask_the_bucket_and_not_the_hub(
    hub: Hub, s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage, codec = bucket_of(s3), CodecRequest(REPOSITORY)
    inputs = make_shards(tmp_path / "in", 3, num_clips=3)
    with ray_cluster_of(num_cpus=2) as cluster:
        # Only this process knows our hub: a worker that asked would look for the real one.
        monkeypatch.setenv("RAY_ADDRESS", cluster.address)
        run = RayRun(inputs, "s3://codes/run", codec=codec, storage=storage)
        run.request = replace(run.request, codec=codec)
        assert run.start().finish().done == 3
    assert len(storage.list_files("s3://codes/run/codec/some--codec")) == len(hub.files) + 1
