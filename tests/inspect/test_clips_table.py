"""The table of clips has every row of every part once, and can be asked by SQL."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from jobs import cli
from pipeline.inspect import clips_table
from pipeline.inspect.clips_table import CLIPS, write_clips
from pipeline.inspect.drop import drop_clips
from pipeline.read.dataset import open_dataset
from pipeline.storage.client import Storage
from tests.support.export_run import make_export_run, rows_of

STORAGE = Storage()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = make_export_run(tmp_path_factory.mktemp("run"))
    drop_clips(str(made), ["EN_b_0002"], "music", STORAGE)
    return made


def test_every_row_is_there_with_its_place(run: Path) -> None:
    made = write_clips(STORAGE, str(run))
    table = pq.read_table(run / CLIPS).to_pylist()
    for clip, row in zip(table, rows_of(run), strict=True):
        for name in clips_table._OF_PARTS:
            assert clip[name] == row[name]
        part = pq.read_table(run / clip["part"]).to_pylist()
        assert part[clip["row"]]["key"] == clip["key"]
        assert clip["dropped"] == ("music" if clip["key"] == "EN_b_0002" else None)
    # The last clip of each shard has the audio of the first one of all.
    assert (made.clips, made.speakers, made.languages) == (len(table), 4, 2)
    assert (made.same_audio, made.dropped) == (3, 1)
    assert made.hours == pytest.approx(sum(row["duration"] for row in table) / 3600)


def test_bytes_do_not_depend_on_who_reads_what_when(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clips_table, "_GROUP_ROWS", 5)
    write_clips(STORAGE, str(run))
    once = (run / CLIPS).read_bytes()
    assert pq.ParquetFile(run / CLIPS).num_row_groups == -(-len(rows_of(run)) // 5)
    monkeypatch.setattr(clips_table, "_PARTS_AT_A_TIME", 1)
    write_clips(STORAGE, str(run))
    assert (run / CLIPS).read_bytes() == once


def test_the_command_says_what_is_in_it_and_readers_pass_it_by(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["index", str(run), "--clips", "--quiet"]) == 0
    told = capsys.readouterr().out.splitlines()[1]
    assert told.startswith(f"clips     {len(rows_of(run))} clips, ")
    assert "3 have the audio of an earlier one, 1 is dropped" in told
    assert len(list(open_dataset(run))) == len(rows_of(run)) - 1


def test_sql_finds_clips_that_two_runs_share(run: Path, tmp_path: Path) -> None:
    duckdb = pytest.importorskip("duckdb")
    other = make_export_run(tmp_path)
    for each in (run, other):
        write_clips(STORAGE, str(each))
    shared = duckdb.sql(
        f"select count(distinct a.key) from '{run / CLIPS}' a join '{other / CLIPS}' b "
        "using (audio_xxh64)"
    ).fetchall()
    assert shared == [(len({row["key"] for row in rows_of(run)}),)]
