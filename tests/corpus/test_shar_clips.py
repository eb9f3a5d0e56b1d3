"""lhotse Shar: the audio of the tars and the supervisions of the cuts beside them."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from jobs import cli
from pipeline.corpus.clip_source import open_clips
from pipeline.corpus.listing import list_shards
from pipeline.corpus.rules import ReadRules
from pipeline.corpus.shard import Shard
from pipeline.errors import InputError
from pipeline.read.dataset import open_dataset
from pipeline.storage.client import Storage
from tests.support.inline_run import run_shards
from tests.support.shard_maker import audio, write_shard


def cut(key: str, **fields: Any) -> dict[str, Any]:
    said = {"id": key, "text": f"text of {key}", "speaker": "A"}
    return {"id": key, "type": "MonoCut", "duration": 0.5, "supervisions": [said], **fields}


def write_shar(folder: Path, *keys: str) -> Shard:
    """A tar with the audio of some keys, and cuts of `a.1` and `a.2`."""
    members = [
        (f"{key}.{kind}", content)
        for key in keys
        for kind, content in (("flac", audio(0.5, kind="flac")), ("json", b'{"id": "r"}'))
    ]
    write_shard(folder / "recording.000000.tar", members)
    lines = "".join(json.dumps(cut(key)) + "\n" for key in ("a.1", "a.2"))
    (folder / "cuts.000000.jsonl.gz").write_bytes(gzip.compress(lines.encode(), mtime=0))
    (shard,) = list_shards([str(folder)], Storage())
    return shard


def test_clips_have_the_supervisions_of_their_cuts(tmp_path: Path) -> None:
    shard = write_shar(tmp_path, "a.1", "a.2")
    (result,) = run_shards([shard], tmp_path / "out").values()
    assert [(row["key"], row["text"], row["speaker"]) for row in result.rows] == [
        ("a.1", "text of a.1", "A"),
        ("a.2", "text of a.2", "A"),
    ]
    assert {row["extra"] for row in result.rows} == {None}


def test_a_cut_without_audio_is_a_reject_and_audio_without_a_cut_a_clip(tmp_path: Path) -> None:
    shard = write_shar(tmp_path, "a.1", "b.1")
    (result,) = run_shards([shard], tmp_path / "out").values()
    assert [(row["key"], row["text"]) for row in result.rows] == [
        ("a.1", "text of a.1"),
        ("b.1", None),
    ]
    assert result.reasons == {"a.2": "missing_audio"}


def test_other_cuts_are_another_source(tmp_path: Path) -> None:
    before = write_shar(tmp_path, "a.1")
    (tmp_path / "cuts.000000.jsonl.gz").write_bytes(gzip.compress(b"", mtime=0))
    (after,) = list_shards([str(tmp_path / "recording.*.tar")], Storage())
    assert (before.stored.etag, before.url) == (after.stored.etag, after.url)
    assert before.source8 != after.source8


def test_cuts_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    shard = write_shar(tmp_path, "a.1")
    (tmp_path / "cuts.000000.jsonl.gz").write_bytes(gzip.compress(b"{}\n" * 900)[:-20])
    with pytest.raises(InputError, match=r"cuts\.000000\.jsonl\.gz` cannot be read"):
        list(open_clips(shard, Storage(), ReadRules()))


def test_rejects_of_shar_are_retried_with_their_cuts_unless_these_are_gone(
    tmp_path: Path,
) -> None:
    write_shar(tmp_path / "in", "a.1", "a.2")
    output = str(tmp_path / "out")
    words = ["tokenize", str(tmp_path / "in"), output, "--codec", "fake", "--engine", "inline"]
    words += ["--max-clip-seconds", "0.1", "--max-reject-rate", "1", "--quiet"]
    assert cli.run(words) == 1  # no codes at all
    again = ["retry", output, "--reason", "too_long", "--max-clip-seconds", "9"]
    again += ["--engine", "inline", "--quiet"]
    cuts, aside = tmp_path / "in/cuts.000000.jsonl.gz", tmp_path / "cuts"
    cuts.rename(aside)
    assert cli.run(again) == 2
    aside.rename(cuts)
    assert cli.run(again) == 0
    assert {clip.columns["text"] for clip in open_dataset(output)} == {"text of a.1", "text of a.2"}
