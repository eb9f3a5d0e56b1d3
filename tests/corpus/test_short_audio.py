"""Audio that ends before its header or its JSON says is counted, or a reject if that is asked."""

from pathlib import Path

import pytest

from tests.support.inline_run import run_tar
from tests.support.shard_maker import audio, emilia_json, pair, write_shard


@pytest.fixture
def tar(tmp_path: Path) -> Path:
    whole = audio(4.0)
    members = [
        *pair("whole", 1.0),
        ("half.mp3", whole[: len(whole) // 2]),
        ("stated.wav", audio(1.0, kind="wav")),
        ("stated.json", emilia_json("stated", duration=1.6)),
        ("near.wav", audio(1.0, kind="wav")),
        ("near.json", emilia_json("near", duration=1.4)),
    ]
    return write_shard(tmp_path / "s.tar", members)


def test_rows_that_end_early_are_counted(tar: Path, tmp_path: Path) -> None:
    result = run_tar(tar, tmp_path / "out")
    assert (len(result.rows), result.manifest.ended_early) == (4, 2)
    assert b'"ended_early": 2' in result.manifest.to_json()
    whole = write_shard(tmp_path / "whole.tar", pair("whole"))
    assert b"ended_early" not in run_tar(whole, tmp_path / "fine").manifest.to_json()


def test_rows_that_end_early_are_rejects_where_that_is_asked(tar: Path, tmp_path: Path) -> None:
    result = run_tar(tar, tmp_path / "out", reject_short=True)
    assert result.keys == ["whole", "near"]
    assert result.reasons == {"half": "cut_off", "stated": "cut_off"}
    assert "4.000 s are stated" in result.rejects[0]["detail"]
    assert result.manifest.ended_early == 0
