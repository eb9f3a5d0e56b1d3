"""Each wait that a user can meet is one line of the log, written when the wait begins."""

import logging
import os
import signal
from contextlib import closing
from pathlib import Path

import pytest

from pipeline.corpus.listing import list_shards
from pipeline.corpus.rules import ReadRules
from pipeline.corpus.shard import Shard
from pipeline.errors import DrainedError
from pipeline.fleet.engine import InlineEngine
from pipeline.fleet.ray.engine import RayEngine
from pipeline.fleet.ray.options import RayOptions
from pipeline.fleet.run import RunRequest, run_tokenize
from pipeline.storage.client import Storage
from pipeline.worker.codec_request import CodecRequest
from pipeline.worker.settings import Tuning
from pipeline.worker.writer import ShardOutcome
from tests.support.inline_run import worker_settings
from tests.support.ray_runs import RULES, make_shards


def beginnings(caplog: pytest.LogCaptureFixture, folder: Path) -> list[str]:
    ours = (r for r in caplog.records if r.name.startswith(("pipeline", "xy_codec")))
    return [r.getMessage().replace(str(folder), "") for r in ours]


def test_a_run_says_what_it_waits_for(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    make_shards(tmp_path / "in", 2, num_clips=2)
    codec = CodecRequest("xy-nano", device="cpu")
    inputs, output = (str(tmp_path / "in/*.tar"),), str(tmp_path / "out")
    request = RunRequest(inputs, output, ReadRules(), Storage(), Tuning(1), quiet=True, codec=codec)
    with caplog.at_level(logging.INFO):
        run_tokenize(request, InlineEngine(codec))
    first = beginnings(caplog, tmp_path)
    assert first[:5] == [
        "Listing 1 input",
        "Found 2 shards",
        "Reading what the output `/out` holds already",
        "Loading the codec `xy-nano`, precision `exact`",
        first[4],
    ]
    assert first[4].startswith("Reading the checkpoint `")
    assert first[5] == "0 of 2 shards done, 2 left"


def test_loading_shows_no_secret_of_a_url(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO), pytest.raises(Exception, match="could not be fetched"):
        CodecRequest("memory://user:hush@host/codec?signature=hush").load()
    assert "Loading the codec `memory://host/codec`" in caplog.text
    assert "hush" not in caplog.text


def stop_after_the_first_shard(engine: RayEngine, shards: list[Shard], output: Path) -> None:
    for told in engine.run(worker_settings(output, RULES), shards):
        if isinstance(told, ShardOutcome):
            os.kill(os.getpid(), signal.SIGTERM)


def test_ray_says_what_it_waits_for_and_that_it_stops(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shards = list_shards([str(make_shards(tmp_path / "in", 3))], Storage())
    engine = RayEngine(CodecRequest("fake"), RayOptions(workers=1, cpus_per_worker=1))
    with caplog.at_level(logging.INFO), closing(engine), pytest.raises(DrainedError):
        stop_after_the_first_shard(engine, shards, tmp_path / "out")
    lines = beginnings(caplog, tmp_path)
    assert lines[:2] == [
        "Starting Ray on this machine",
        "Waiting for a first worker to start and to load the codec",
    ]
    assert any(line.startswith("Stopping on SIGTERM: waiting up to 300 s") for line in lines)
