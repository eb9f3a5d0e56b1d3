"""With an index, tools ask for no shard of an output on S3 by itself, and answer the same."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

import pytest

from pipeline.corpus import listing
from pipeline.corpus.listing import list_shards
from pipeline.corpus.rules import ReadRules
from pipeline.errors import UsageError
from pipeline.fleet.engine import InlineEngine
from pipeline.fleet.run import RunRequest, run_tokenize
from pipeline.inspect.card import make_card
from pipeline.inspect.show import find_row
from pipeline.inspect.status import read_status
from pipeline.inspect.verify import verify_output
from pipeline.output.index import INDEX, write_index
from pipeline.storage.client import Storage
from pipeline.worker.codec_request import CodecRequest
from pipeline.worker.settings import Tuning
from tests.support.fault_proxy import FaultProxy, fault_proxy
from tests.support.large_output import fill_inputs, fill_output, key_of
from tests.support.s3_server import S3Server

SHARDS = 20
OUTPUT = "s3://requests/out"


@dataclass(frozen=True)
class Watched:
    """A finished run of 20 shards on S3, and what is asked of the server."""

    storage: Storage
    proxy: FaultProxy

    def requests_of(self, tool: Callable[[Storage], Any]) -> tuple[Any, list[str]]:
        self.proxy.faults.seen.clear()
        answer = tool(self.storage)
        return answer, [f"{method} {path}" for method, path, _ in self.proxy.faults.seen]


@pytest.fixture(scope="module")
def watched(s3: S3Server) -> Iterator[Watched]:
    direct = Storage({"s3": s3.storage_options()})
    fill_inputs(direct, "s3://requests", SHARDS)
    fill_output(direct, "s3://requests")
    with fault_proxy(s3.url) as proxy:
        yield Watched(Storage({"s3": s3.storage_options(proxy.url)}), proxy)


def status(storage: Storage) -> object:
    return read_status(OUTPUT, storage)


def card(storage: Storage) -> object:
    return make_card(OUTPUT, storage, licence="other", title="Tiny")


def show(storage: Storage) -> object:
    return find_row(OUTPUT, key_of(7, 1), storage).row


def quick(storage: Storage) -> object:
    return verify_output(OUTPUT, storage, quick=True, quiet=True)


def rerun(storage: Storage) -> object:
    codec = CodecRequest("fake")
    request = RunRequest(
        ("s3://requests/in",), OUTPUT, ReadRules(), storage, Tuning(1), quiet=True, codec=codec
    )
    summary = run_tokenize(request, InlineEngine(codec))
    return summary.shards_skipped, summary.judged_before, summary.rejects_before


@pytest.mark.parametrize("tool", [status, card, show, quick, rerun])
def test_with_an_index_no_tool_asks_for_each_shard(
    watched: Watched, tool: Callable[[Storage], object]
) -> None:
    watched.storage.delete(f"{OUTPUT}/{INDEX}")
    without, asked = watched.requests_of(tool)
    assert sum("GET /requests/out/manifests/" in each for each in asked) == SHARDS
    write_index(watched.storage, OUTPUT)
    answer, asked = watched.requests_of(tool)
    assert not [each for each in asked if "/requests/out/manifests/" in each]
    assert len(asked) < SHARDS, asked
    assert answer == without


def test_a_run_lists_the_manifests_of_an_output_once_before_it_works(watched: Watched) -> None:
    codec, output = CodecRequest("fake"), "s3://requests/new"

    def run(storage: Storage) -> object:
        request = RunRequest(
            ("s3://requests/in",),
            output,
            ReadRules(),
            storage,
            Tuning(1),
            max_shards=1,
            quiet=True,
            codec=codec,
        )
        return run_tokenize(request, InlineEngine(codec)).done

    done, asked = watched.requests_of(run)
    assert done == 1
    before = list(takewhile(lambda each: "PUT /requests/new/tokens" not in each, asked))
    # Of a folder that is empty s3fs also asks whether it is there, with one key at most.
    listings = [each for each in before if "new%2Fmanifests" in each and "max-keys" not in each]
    assert len(listings) == 1


@pytest.mark.parametrize("folder", ["tokens/new", "manifests/in", "codec"])
def test_an_output_inside_the_files_of_another_is_refused_by_one_request(
    watched: Watched, folder: str
) -> None:
    codec, inside = CodecRequest("fake"), f"{OUTPUT}/{folder}"

    def run(storage: Storage) -> None:
        request = RunRequest(
            ("s3://requests/in",), inside, ReadRules(), storage, Tuning(1), quiet=True, codec=codec
        )
        with pytest.raises(UsageError, match=f"where the output `{OUTPUT}` keeps its own files"):
            run_tokenize(request, InlineEngine(codec))

    _, asked = watched.requests_of(run)
    assert [each.split("?")[0] for each in asked] == ["GET /requests/out/run.json"]


def test_an_index_is_one_request_to_read_and_one_to_write(watched: Watched) -> None:
    write_index(watched.storage, OUTPUT)
    _, asked = watched.requests_of(lambda storage: write_index(storage, OUTPUT))
    assert [each.split("?")[0] for each in asked] == [
        "GET /requests",
        f"GET /requests/out/{INDEX}",
        f"PUT /requests/out/{INDEX}",
    ]


def test_inputs_are_one_listing(watched: Watched) -> None:
    found, asked = watched.requests_of(lambda storage: list_shards(["s3://requests/in"], storage))
    assert len(found) == SHARDS
    assert len(asked) == 1


def test_inputs_that_no_listing_has_are_looked_up_and_the_count_is_told(
    watched: Watched, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "_TELL_SECONDS", 0.0)
    caplog.set_level("INFO", logger="pipeline")
    # Two or three names in each of eight folders: too few to list a folder for them.
    names = [shard.url for shard in list_shards(["s3://requests/in"], watched.storage)]
    found, asked = watched.requests_of(lambda storage: list_shards(names, storage))
    assert [shard.url for shard in found] == names
    assert [each.split("/")[0] for each in asked] == ["HEAD "] * SHARDS
    assert f"Looked up 19 of {SHARDS} inputs that no listing has" in caplog.messages
