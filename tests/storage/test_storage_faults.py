"""Storage fails in every way it can: the run retries, or ends with a clear error, never half."""

import itertools
import math
import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline.corpus.rules import ReadRules
from pipeline.errors import PipelineError, RefusedError, StorageError
from pipeline.fleet import breaker, driver, lease
from pipeline.fleet.engine import InlineEngine
from pipeline.fleet.run import RunRequest, run_tokenize
from pipeline.fleet.summary import RunSummary
from pipeline.inspect.verify import verify_output
from pipeline.output.manifest import list_manifests
from pipeline.storage.client import Storage
from pipeline.storage.retries import RetryPolicy
from pipeline.worker.codec_request import CodecRequest
from pipeline.worker.settings import Tuning
from tests.support.fault_proxy import FaultProxy, fault_proxy
from tests.support.ray_runs import FOLDERS
from tests.support.s3_server import ACCESS_KEY, SECRET_KEY, S3Server
from tests.support.shard_maker import pairs, write_shard

NUM_SHARDS = 4
Rule = Callable[[str, str, int], str | None]
QUICK = RetryPolicy(attempts=6, first_pause_seconds=0.05, longest_pause_seconds=0.2)


@pytest.fixture(scope="module")
def bucket(s3: S3Server, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A bucket with shards, and the files of an undisturbed run over them."""
    folder = tmp_path_factory.mktemp("faults")
    fs = storage_at(s3).filesystem("s3://faults")[0]
    fs.mkdir("faults")
    for number in range(NUM_SHARDS):
        write_shard(folder / f"{number}.tar", pairs(12, 0.5, prefix=f"s{number}-"))
    fs.put(f"{folder}/", "faults/in/", recursive=True)
    assert tokenize(storage_at(s3), "calm").done == NUM_SHARDS
    return fs


@pytest.fixture
def proxy(s3: S3Server, bucket: Any) -> Iterator[FaultProxy]:
    with fault_proxy(s3.url) as proxy:
        yield proxy


@pytest.fixture
def quick_breaker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(breaker, "_FIRST_PAUSE_SECONDS", 0.1)
    monkeypatch.setattr(breaker, "_LONGEST_PAUSE_SECONDS", 0.1)
    monkeypatch.setattr(driver, "_REPORT_SECONDS", 0.05)
    # A lease that could not be released is taken over soon.
    monkeypatch.setattr(lease, "STALE_SECONDS", 1.0)


def storage_at(s3: S3Server, url: str | None = None, timeout: float = 20.0) -> Storage:
    return Storage({"s3": s3.storage_options(url)}, QUICK, timeout)


def tokenize(storage: Storage, output: str, outage_minutes: float = 5) -> RunSummary:
    request = RunRequest(
        ("s3://faults/in/*.tar",), f"s3://faults/{output}", ReadRules(), storage, Tuning(1)
    )
    engine = InlineEngine(CodecRequest("fake"), outage_minutes=outage_minutes)
    return run_tokenize(replace(request, quiet=True), engine)


def contents(fs: Any, output: str) -> dict[str, bytes]:
    fs.invalidate_cache()
    root = f"faults/{output}/"
    return {
        name.removeprefix(root): content
        for folder in FOLDERS
        for name, content in fs.cat(fs.find(root + folder)).items()
    }


def every(step: int, fault: str, *methods: str) -> Rule:
    return lambda method, path, number: (
        fault if number % step == 0 and (not methods or method in methods) else None
    )


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("errors", every(4, "500")),
        ("resets", every(4, "reset")),
        ("slow", every(2, "slow", "GET")),
        ("halves", every(3, "half", "PUT")),
    ],
)
def test_passing_faults_cost_nothing_but_time(
    s3: S3Server, bucket: Any, proxy: FaultProxy, name: str, rule: Rule
) -> None:
    proxy.faults.rule = rule
    assert tokenize(storage_at(s3, proxy.url), name).done == NUM_SHARDS
    assert proxy.faults.met
    assert contents(bucket, name) == contents(bucket, "calm")


def test_a_put_that_always_fails_half_way_leaves_nothing_that_counts_as_done(
    s3: S3Server, bucket: Any, proxy: FaultProxy, quick_breaker: None
) -> None:
    proxy.faults.rule = lambda method, path, number: (
        "half" if method == "PUT" and "/tokens/" in path else None
    )
    storage = replace(storage_at(s3, proxy.url), policy=replace(QUICK, attempts=2))
    with pytest.raises(PipelineError, match="writing `s3://faults/never/tokens"):
        assert not tokenize(storage, "never").failed
    assert not list_manifests(storage_at(s3), "s3://faults/never")
    assert tokenize(storage_at(s3), "never").done == NUM_SHARDS
    assert contents(bucket, "never") == contents(bucket, "calm")


class Outage:
    """Begins when the first shard is done, and lasts for some requests beside the lease's."""

    def __init__(self, fault: str, folder: str, num_requests: float) -> None:
        self.fault, self.folder, self.left = fault, folder, num_requests
        self.has_begun = False

    def __call__(self, method: str, path: str, number: int) -> str | None:
        self.has_begun |= method == "PUT" and "/manifests/" in path
        if not self.has_begun or self.folder not in path or self.left <= 0:
            return None
        self.left -= 1
        return self.fault


@pytest.mark.parametrize(
    ("name", "fault", "folder"),
    [
        ("unread", "500", "/faults/in/"),
        ("unwritten", "500", "/faults/unwritten/"),
        ("expired", "forbidden", "/faults/"),
    ],
)
def test_an_outage_pauses_the_run_and_blames_no_shard(
    s3: S3Server,
    bucket: Any,
    proxy: FaultProxy,
    name: str,
    fault: str,
    folder: str,
    quick_breaker: None,
    caplog: pytest.LogCaptureFixture,
) -> None:
    # More than a worker tries by itself, and some probes.
    proxy.faults.rule = Outage(fault, folder, 22 if fault == "500" else 8)
    assert tokenize(storage_at(s3, proxy.url), name).done == NUM_SHARDS
    assert proxy.faults.met
    assert "the run pauses" in caplog.text
    assert "Storage answers again" in caplog.text
    assert contents(bucket, name) == contents(bucket, "calm")


@pytest.mark.parametrize(
    ("name", "fault", "why"), [("refused", "forbidden", "was refused"), ("down", "500", "failed")]
)
def test_an_outage_that_does_not_end_ends_the_run_and_is_named_with_one_remedy(
    s3: S3Server,
    bucket: Any,
    proxy: FaultProxy,
    name: str,
    fault: str,
    why: str,
    quick_breaker: None,
    caplog: pytest.LogCaptureFixture,
) -> None:
    proxy.faults.rule = Outage(fault, "/faults/", math.inf)
    quick = replace(storage_at(s3, proxy.url), policy=replace(QUICK, attempts=2))
    with pytest.raises(StorageError, match=rf"did not answer .* {why} .* the same comm") as error:
        tokenize(quick, name, outage_minutes=0.02)
    (pause,) = (line for line in caplog.messages if "the run pauses" in line)
    for text in (str(error.value), pause):
        assert text.count("check the endpoint, the network and the credentials") == 1
        assert text.count("expected") <= 1
    assert "run the same command" not in caplog.text
    assert tokenize(storage_at(s3), name).failed == []
    assert contents(bucket, name) == contents(bucket, "calm")


def test_one_file_that_is_gone_fails_alone(
    s3: S3Server, bucket: Any, proxy: FaultProxy, tmp_path: Path
) -> None:
    proxy.faults.rule = lambda method, path, number: (
        "forbidden" if path.startswith("/faults/in/2.tar") and method == "GET" else None
    )
    summary = tokenize(storage_at(s3, proxy.url), "one")
    assert summary.done == NUM_SHARDS - 1
    ((url, why),) = summary.failed
    assert url.endswith("/2.tar")
    assert "was refused" in why


def test_a_lease_that_storage_refuses_a_few_times_is_taken(s3: S3Server, proxy: FaultProxy) -> None:
    refused = itertools.count()
    proxy.faults.rule = lambda method, path, number: (
        "500" if method == "PUT" and "/lease/" in path and next(refused) < 5 else None
    )
    assert tokenize(storage_at(s3, proxy.url), "leased").done == NUM_SHARDS
    assert next(refused) > 5


@pytest.mark.slow
def test_faults_at_random_for_a_whole_run_cost_nothing_but_time(
    s3: S3Server, bucket: Any, proxy: FaultProxy
) -> None:
    rng = random.Random(5)
    kinds = ["500", "reset", "half", "slow"]
    for round_number in range(5):
        proxy.faults.rule = lambda method, path, number: (
            rng.choice(kinds) if rng.random() < 0.25 else None
        )
        output = f"random{round_number}"
        assert tokenize(storage_at(s3, proxy.url), output).done == NUM_SHARDS
        assert contents(bucket, output) == contents(bucket, "calm")
        assert verify_output(f"s3://faults/{output}", storage_at(s3)).is_clean


def test_credentials_that_were_renewed_are_taken_up(
    s3: S3Server, bucket: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    profile = tmp_path / "credentials"
    text = f"[default]\naws_access_key_id = {ACCESS_KEY}\naws_secret_access_key = "
    profile.write_text(text + "expired\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(profile))
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3.url)
    storage = Storage({}, QUICK)
    with pytest.raises(RefusedError):
        storage.read_bytes("s3://faults/in/0.tar")
    profile.write_text(text + SECRET_KEY + "\n")
    assert storage.read_bytes("s3://faults/in/0.tar")
