"""Parquet with a column of audio: every row is a clip, a reject, or counted in a hole."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.corpus.clip_source import audio_reader, open_clips
from pipeline.corpus.filter_fields import check_filter_fields
from pipeline.corpus.listing import list_shards
from pipeline.corpus.parquet_clips import ParquetClips
from pipeline.corpus.rules import ReadRules
from pipeline.corpus.sampling import sample_shards
from pipeline.errors import InputError, UsageError
from pipeline.storage.client import Storage
from tests.support.audio_parquet import row, write_parquet
from tests.support.inline_run import Result, run_shards
from tests.support.shard_maker import audio


def run_file(path: Path, **rules: Any) -> Result:
    shards = list_shards([str(path)], Storage())
    (result,) = run_shards(shards, path.parent / "out", ReadRules(**rules)).values()
    return result


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_parquet(tmp_path_factory.mktemp("in") / "a.parquet", [row(n) for n in range(10)])


@pytest.fixture(scope="module")
def result(file: Path) -> Result:
    return run_file(file)


def test_rows_become_clips_with_typed_metadata(result: Result) -> None:
    assert result.keys == [f"clip.{n:03}" for n in range(10)]
    last = result.rows[-1]
    assert (last["text"], last["speaker"], last["language"]) == ("text 9", "s0", "de")
    assert (last["dnsmos"], last["extra"]) == (4.5, None)
    assert (result.manifest.members, result.manifest.clips_seen) == (10, 10)


def test_the_number_of_a_row_leads_back_to_its_audio(file: Path, result: Result) -> None:
    read = audio_reader(file.name, str(file), Storage(), ReadRules(), lambda: b"")
    for number in (0, 3, 4, 9):
        found = result.rows[number]
        assert found["tar_offset"] == number
        assert read(found["tar_offset"], found["tar_size"]) == audio(0.5 + number / 10, seed=number)


def test_where_and_limit_work_as_for_tars(file: Path) -> None:
    filtered = run_file(file, where="dnsmos >= 3 and language == 'de'")
    assert (filtered.keys, filtered.manifest.filtered) == (["clip.007", "clip.009"], 8)
    limited = run_file(file, limit=3)
    assert (len(limited.rows), limited.manifest.limited) == (3, True)
    assert not run_file(file, limit=10).manifest.limited


def test_an_unknown_field_is_refused_with_the_nearest_name(file: Path) -> None:
    shards = list_shards([str(file)], Storage())
    with pytest.raises(UsageError, match=r"`dnmos` \(expected `dnsmos`\)"):
        check_filter_fields(ReadRules(where="dnmos > 3"), shards, Storage())


def test_a_plan_counts_its_clips(file: Path) -> None:
    shards = list_shards([str(file)], Storage())
    sample = sample_shards(shards, Storage(), ReadRules())
    assert sample.clips_in(shards[0].size_bytes) == pytest.approx(10)
    assert sample.seconds_in(shards[0].size_bytes) == pytest.approx(9.5, rel=0.2)


def test_rows_without_audio_are_rejects_and_files_beside_are_found(tmp_path: Path) -> None:
    (tmp_path / "wavs").mkdir()
    (tmp_path / "wavs/b.wav").write_bytes(audio(kind="wav"))
    within = str(tmp_path / "wavs/b.wav")
    outside = f"{tmp_path}/wavs/../../e.wav"
    paths = ["wavs/b.wav", "wavs/c.wav", "/elsewhere/d.wav", None, within, outside, "wavs"]
    rows = [row(n, audio={"bytes": None, "path": path}) for n, path in enumerate(paths)]
    result = run_file(write_parquet(tmp_path / "a.parquet", rows))
    assert result.keys == ["wavs/b", "b"]
    assert [(each["key"], each["reason"]) for each in result.rejects] == [
        ("wavs/c", "missing_audio"),
        ("d", "missing_audio"),
        ("000000003", "missing_audio"),
        ("e", "missing_audio"),
        ("wavs", "missing_audio"),
    ]
    details = [each["detail"] for each in result.rejects]
    assert all("no file" in details[n] and "beside the Parquet" in details[n] for n in (0, 4))
    assert "`/elsewhere/d.wav`, which is not below the folder of the Parquet file" in details[1]


def test_bad_and_large_audio_are_rejects_of_their_rows(tmp_path: Path) -> None:
    rows = [
        row(0),
        row(1, audio={"bytes": b"no audio", "path": "x.mp3"}),
        row(2, audio={"bytes": b"", "path": "y.mp3"}),
        row(3, audio={"bytes": bytes(50_000), "path": "z.mp3"}),
    ]
    result = run_file(write_parquet(tmp_path / "a.parquet", rows), max_member_bytes=40_000)
    assert result.reasons == {"x": "undecodable", "y": "empty", "z": "too_big"}
    assert [each["tar_offset"] for each in result.rejects] == [1, 2, 3]


def test_rows_of_one_name_keep_their_own(tmp_path: Path) -> None:
    rows = [row(n, audio={"bytes": audio(), "path": "audio.mp3"}) for n in range(3)]
    result = run_file(write_parquet(tmp_path / "a.parquet", rows))
    assert result.keys == ["audio", "audio-000000001", "audio-000000002"]


def test_other_columns_of_bytes_and_odd_types_do_no_harm(tmp_path: Path) -> None:
    import datetime

    table = pa.table(
        {
            "id": ["a", "b"],
            "speech": [{"bytes": audio(), "path": None}] * 2,
            "embedding": [b"123", None],
            "day": [datetime.date(2026, 1, 2)] * 2,
            "words": [[{"w": "x", "t": 1.5}], []],
        }
    )
    pq.write_table(table, tmp_path / "a.parquet")
    result = run_file(tmp_path / "a.parquet")
    assert result.keys == ["a", "b"]
    extra = json.loads(result.rows[0]["extra"])
    assert extra == {"day": "2026-01-02", "words": [{"t": 1.5, "w": "x"}]}


def test_which_column_has_the_audio_is_asked_where_several_could(tmp_path: Path) -> None:
    sound = {"bytes": audio(), "path": "a.mp3"}
    pq.write_table(pa.table({"one": [sound], "two": [sound]}), tmp_path / "a.parquet")
    (shard,) = list_shards([str(tmp_path / "a.parquet")], Storage())
    with pytest.raises(InputError, match=r"2 columns of audio: one, two; .*--audio-column"):
        list(open_clips(shard, Storage(), ReadRules()))
    assert run_file(tmp_path / "a.parquet", audio_column="two").keys == ["a"]
    with pytest.raises(InputError, match="has no column `three`"):
        list(open_clips(shard, Storage(), ReadRules(audio_column="three")))


def test_a_damaged_row_group_is_a_hole_of_so_many_rows(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "a.parquet", [row(n) for n in range(10)])
    column = pq.read_metadata(path).row_group(1).column(0)
    content = bytearray(path.read_bytes())
    start = column.data_page_offset
    content[start : start + 200] = b"\xff" * 200
    path.write_bytes(content)
    result = run_file(path)
    kept = [n for n in range(10) if not 4 <= n < 8]
    assert result.keys == [f"clip.{n:03}" for n in kept]
    (hole,) = result.manifest.holes
    assert (hole.offset, hole.size_bytes, hole.kind) == (4, 4, "rows")


def test_a_file_that_is_no_parquet_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"PAR1 and no more")
    (shard,) = list_shards([str(tmp_path / "a.parquet")], Storage())
    with pytest.raises(InputError, match="cannot be read as Parquet"):
        list(open_clips(shard, Storage(), ReadRules()))


def test_a_large_row_group_is_not_read_whole(tmp_path: Path) -> None:
    rows = [{"audio": {"bytes": bytes(1 << 20), "path": f"{n}.wav"}} for n in range(64)]
    table = pa.Table.from_pylist(rows)
    pq.write_table(table, tmp_path / "a.parquet", compression="none", write_batch_size=1)
    del rows, table
    (shard,) = list_shards([str(tmp_path / "a.parquet")], Storage())
    pa.default_memory_pool().release_unused()
    before = pa.total_allocated_bytes()
    most = 0
    for _ in ParquetClips(shard, Storage(), ReadRules(), lambda _: None):
        most = max(most, pa.total_allocated_bytes() - before)
    assert 0 < most < 40 << 20
