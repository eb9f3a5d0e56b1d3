"""Decoding in a child process: clips are to blame for what they do, the node for all else."""

import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline.corpus.decode import ClipBounds, DecodedClip
from pipeline.corpus.listing import list_shards
from pipeline.corpus.rules import ReadRules
from pipeline.corpus.shard import Shard
from pipeline.errors import NodeError
from pipeline.storage.client import Storage
from pipeline.worker import decode_child
from pipeline.worker.decode_child import DecodeChild
from pipeline.worker.settings import Tuning
from tests.support.faulty_codecs import ABORT, FIRST_TRY
from tests.support.inline_run import run_shards
from tests.support.shard_maker import audio, pair, pairs, write_shard

ABORTING = "tests.support.faulty_codecs:decode_or_abort"


def isolated(folder: Path, members: list[tuple[str, bytes]]) -> Shard:
    tar = write_shard(folder / "in/s.tar", members)
    (shard,) = list_shards([str(tar)], Storage(), root=str(folder / "in"))
    return replace(shard, isolate_decoding=True)


def test_a_child_that_cannot_start_writes_nothing_and_blames_the_node(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shard = isolated(tmp_path, pairs(3))
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(NodeError, match=r"does not start \(exit code 1\)"):
        run_shards([shard], tmp_path / "out")
    assert not list(tmp_path.glob("out/manifests/*"))


def test_a_child_whose_libraries_fail_at_the_first_clip_blames_the_node(tmp_path: Path) -> None:
    child = DecodeChild("tests.support.faulty_codecs:GATE", 16000, ClipBounds())
    with pytest.raises(NodeError, match="exit code 1"):
        child.decode(audio(0.4), lambda seconds: None, lambda: None)


def test_a_clip_is_not_blamed_when_no_child_works_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    starts = []

    def start_twice(*words: Any, **options: Any) -> Any:
        starts.append(words)
        if len(starts) > 2:
            raise MemoryError("cannot allocate memory")
        return popen(*words, **options)

    popen = subprocess.Popen
    monkeypatch.setattr(subprocess, "Popen", start_twice)
    child = DecodeChild(ABORTING, 16000, ClipBounds())
    with pytest.raises(NodeError, match="cannot allocate memory"):
        child.decode(ABORT, lambda seconds: None, lambda: None)


def test_a_clip_whose_child_died_once_is_decoded_at_the_second_try(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(FIRST_TRY, str(tmp_path / "tried"))
    shard = isolated(tmp_path, [*pair("a", 0.4), *pair("b", 2.0), *pair("c", 0.4)])
    rules = ReadRules(decoder="tests.support.faulty_codecs:decode_at_the_second_try")
    result = run_shards([shard], tmp_path / "out", rules)["s.tar"]
    assert (tmp_path / "tried").exists()
    assert (result.keys, result.reasons) == (["a", "b", "c"], {})


@pytest.mark.parametrize("is_isolated", [True, False])
def test_a_machine_that_fails_at_a_clip_rejects_nothing(tmp_path: Path, is_isolated: bool) -> None:
    members = [*pair("a", 0.4), *pair("b", 2.0), *pair("c", 0.4)]
    shard = replace(isolated(tmp_path, members), isolate_decoding=is_isolated)
    rules = ReadRules(decoder="tests.support.faulty_codecs:decode_without_memory")
    with pytest.raises(NodeError, match="no memory"):
        run_shards([shard], tmp_path / "out", rules)
    assert not list(tmp_path.glob("out/rejects/*"))
    assert not list(tmp_path.glob("out/manifests/*"))


def test_a_wait_for_memory_is_not_taken_for_a_hanging_clip(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(decode_child, "HANG_SECONDS", 3.0)

    def wait(seconds: float) -> None:
        time.sleep(3.5)

    child = DecodeChild(ReadRules().decoder, 16000, ClipBounds())
    # More samples than a pipe holds, so that the child still writes them after the wait.
    clip = child.decode(audio(30.0), wait, lambda: None)
    assert isinstance(clip, DecodedClip)
    child.close()


def test_the_threads_of_a_worker_share_one_child(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    starts = []
    popen = subprocess.Popen

    def start(*words: Any, **options: Any) -> Any:
        starts.append(words)
        return popen(*words, **options)

    monkeypatch.setattr(subprocess, "Popen", start)
    result = run_shards([isolated(tmp_path, pairs(8))], tmp_path / "out", tuning=Tuning(4))
    assert len(result["s.tar"].rows) == 8
    assert len(starts) == 1
