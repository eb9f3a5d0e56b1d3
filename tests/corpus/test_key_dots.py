"""Names with more than one dot: no member is lost, and clips that share a key are told."""

import logging
from pathlib import Path

import pytest
from webdataset import TarWriter

from pipeline.corpus.pairing import split_name
from tests.support.inline_run import run_tar
from tests.support.shard_maker import Member, audio, emilia_json, write_shard

TAKES = ("take.9.v2", "take.9.v3")


def members(*order: str) -> list[Member]:
    content = {"wav": audio(kind="wav"), "txt": b"said", "json": emilia_json("x", text="told")}
    return [(name, content[name.rpartition(".")[2]]) for name in order]


@pytest.mark.parametrize(
    "order",
    [
        ("c.001.json", "c.001.wav"),
        ("c.001.wav", "c.001.json"),
        ("c.001.json", "a.wav", "c.001.wav"),
        ("c.001.wav", "a.wav", "c.001.json"),
        ("c.001.wav", "c.json"),
    ],
)
def test_text_with_the_whole_name_of_its_audio_belongs_to_it(
    tmp_path: Path, order: tuple[str, ...]
) -> None:
    result = run_tar(write_shard(tmp_path / "s.tar", members(*order)), tmp_path / "out")
    assert {row["key"]: row["text"] for row in result.rows}["c"] == "told"
    assert result.rejects == []


def test_clips_that_share_a_key_are_rejects_that_name_the_option(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    names = [f"{take}.{kind}" for take in (*TAKES, "take.9.v4") for kind in ("txt", "wav")]
    tar = write_shard(tmp_path / "s.tar", members(*names))
    with caplog.at_level(logging.WARNING):
        result = run_tar(tar, tmp_path / "out")
    assert [(row["key"], row["text"]) for row in result.rows] == [("take", "said")]
    assert [row["reason"] for row in result.rejects] == ["key_dots", "key_dots"]
    assert "`take.9.v3.wav` has the key `take`" in result.rejects[0]["detail"]
    assert caplog.text.count("--key-dots") == 1


def test_key_dots_reads_dots_as_part_of_names(tmp_path: Path) -> None:
    names = [f"d.1/{take}.{kind}" for take in TAKES for kind in ("wav", "txt")]
    tar = write_shard(tmp_path / "s.tar", members(*names))
    result = run_tar(tar, tmp_path / "out", key_dots=True)
    assert [(row["key"], row["text"]) for row in result.rows] == [
        (f"d.1/{take}", "said") for take in TAKES
    ]
    assert result.rejects == []


def test_what_webdataset_itself_writes_keeps_its_text(tmp_path: Path) -> None:
    with TarWriter(str(tmp_path / "s.tar")) as writer:
        for number in (1, 2):
            sample = {"__key__": f"c.00{number}", "wav": audio(kind="wav"), "txt": f"t{number}"}
            writer.write(sample)
    result = run_tar(tmp_path / "s.tar", tmp_path / "out", key_dots=True)
    assert [(row["key"], row["text"]) for row in result.rows] == [("c.001", "t1"), ("c.002", "t2")]


def test_text_without_audio_is_a_reject(tmp_path: Path) -> None:
    tar = write_shard(tmp_path / "s.tar", members("c.001.wav", "c.002.txt", "d.1.json", "d.2.txt"))
    result = run_tar(tar, tmp_path / "out")
    assert [(row["key"], row["detail"]) for row in result.rejects] == [
        ("c", "only text, no audio member `c.002`"),
        ("d", "only json, no audio member `d.1`"),
        ("d", "only text, no audio member `d.2`"),
    ]


def test_other_fields_of_a_clip_are_not_its_text(tmp_path: Path) -> None:
    order = ("a.words.json", "a.wav", "a.more.json", "a.txt")
    result = run_tar(write_shard(tmp_path / "s.tar", members(*order)), tmp_path / "out")
    assert [(row["key"], row["text"]) for row in result.rows] == [("a", "said")]
    assert result.rejects == []


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("d.x/take.9.v2.WAV", ("d.x/take.9.v2", "wav")),
        ("./a.mp3", ("a", "mp3")),
        ("d/.hidden.mp3", None),
        ("plain", None),
    ],
)
def test_keys_with_dots_end_at_the_last_dot(name: str, expected: tuple[str, str] | None) -> None:
    assert split_name(name, key_dots=True) == expected
