"""Merged parts hold the rows of a run as they are, in few files, in the order asked for."""

import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from jobs import cli
from pipeline.errors import NotFoundError, UsageError
from pipeline.export import shuffle
from pipeline.export.selection import Selection
from pipeline.output.parquet_layout import IDENTITY_KEY
from pipeline.read.dataset import open_dataset
from tests.support.export_run import export, files_in, make_export_run, rows_of


def merged(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.parquet"))


def test_rows_stay_as_they_are_and_in_order(run: Path, tmp_path: Path) -> None:
    assert cli.run(["merge", str(run), str(tmp_path / "all"), "--quiet"]) == 0
    (file,) = merged(tmp_path / "all")
    table = pq.read_table(file)
    assert table.to_pylist() == rows_of(run)
    part = next(run.glob("tokens/**/*.parquet"))
    assert table.schema.equals(pq.read_schema(part))
    identity = pq.read_schema(part).metadata[IDENTITY_KEY]
    assert pq.read_schema(file).metadata[IDENTITY_KEY] == identity
    # The reader takes the folder, alone or beside the run that it came from.
    keys = [row["key"] for row in rows_of(run)]
    columns = ("shard", "tar_offset", "extra")
    assert [clip.key for clip in open_dataset(tmp_path / "all", columns=columns)] == keys
    assert len(list(open_dataset([tmp_path / "all", run]))) == 2 * len(keys)


def test_files_are_about_as_large_as_asked_for(run: Path, tmp_path: Path) -> None:
    record = export(run, tmp_path / "out", "parts", max_bytes=1000)
    counts = [pq.read_metadata(file).num_rows for file in merged(tmp_path / "out")]
    assert len(counts) > 3
    assert sum(counts) == record.clips == len(rows_of(run))
    assert max(counts) - min(counts[:-1]) <= 4


@pytest.mark.parametrize("by", ["language", "length"])
def test_alike_clips_stand_side_by_side_in_any_number_of_buckets(
    by: str, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = rows_of(run)
    column = "language" if by == "language" else "num_frames"
    rows.sort(key=lambda row: row[column])  # a stable sort: equal ones as they were
    export(run, tmp_path / "one", "parts", cluster_by=by)
    assert pq.read_table(merged(tmp_path / "one")[0]).to_pylist() == rows
    monkeypatch.setattr(shuffle, "_BUCKET_BYTES", 500)
    export(run, tmp_path / "many", "parts", cluster_by=by)
    (one,), (many,) = (merged(tmp_path / name) for name in ("one", "many"))
    assert many.read_bytes() == one.read_bytes()


def test_what_is_filtered_stays_out_and_equal_commands_write_equal_bytes(
    run: Path, tmp_path: Path
) -> None:
    written = []
    for name in ("first", "second"):
        words = ["merge", str(run), str(tmp_path / name), "--where", "language == 'fr'"]
        assert cli.run([*words, "--cluster-by", "length", "--quiet"]) == 0
        written.append([file.read_bytes() for file in merged(tmp_path / name)])
    assert written[0] == written[1]
    (file,) = merged(tmp_path / "first")
    assert set(pq.read_table(file)["language"].to_pylist()) == {"fr"}


def test_side_values_stay(tmp_path: Path) -> None:
    run = make_export_run(tmp_path, "fake-odd")
    export(run, tmp_path / "all", "parts")
    rows = pq.read_table(merged(tmp_path / "all")[0]).to_pylist()
    assert rows == rows_of(run)
    assert "side" in rows[0]


def test_clips_of_one_key_in_two_shards_both_stay(tmp_path: Path) -> None:
    run = make_export_run(tmp_path)
    shutil.copy(tmp_path / "in/EN/a.tar", tmp_path / "in/EN/twin.tar")
    words = ["tokenize", str(tmp_path / "in"), str(run), "--root", str(tmp_path / "in")]
    assert cli.run([*words, "--codec", "fake", "--engine", "inline", "--quiet"]) == 0
    export(run, tmp_path / "merged", "parts", selection=Selection(split="train=0.5,dev=0.5"))
    tables = [pq.read_table(file) for file in merged(tmp_path / "merged")]
    keys = [str(key) for table in tables for key in table["key"].to_pylist()]
    assert sorted(keys) == sorted(row["key"] for row in rows_of(run))
    assert keys.count("EN_a_0000") == 2
    # What was merged still tells them apart by their shards.
    with pytest.raises(UsageError, match=r"`EN_a_0000` in .*/EN/a.tar and .*/EN/twin.tar"):
        export(tmp_path / "merged", tmp_path / "no", "webdataset")
    made = tmp_path / "named"
    export(tmp_path / "merged", made, "parquet", duplicate_keys="prefix")
    ids = [
        key for file in made.rglob("*.parquet") for key in pq.read_table(file)["key"].to_pylist()
    ]
    assert len(ids) == len(set(ids)) == len(keys)
    assert sum(str(each).endswith("_EN_twin-EN_a_0000") for each in ids) == 1


def test_what_cannot_be_is_refused(run: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="keeps rows as they are, with 8 codebooks"):
        export(run, tmp_path / "out", "parts", codebooks=4)
    assert cli.run(["merge", str(run), str(tmp_path / "out"), "--max-bytes", "big"]) == 2
    assert not (tmp_path / "out").exists()
    for folder in (run, run / "merged"):
        with pytest.raises(UsageError, match="a folder outside of the run"):
            export(run, folder, "parts")


def test_what_was_merged_is_exported_like_the_run(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    merged_run = tmp_path / "merged"
    export(run, merged_run, "parts", max_bytes=1000)
    for name, source in {"of-run": run, "of-merged": merged_run}.items():
        record = export(source, tmp_path / name, "jsonl")
        assert record.clips == 21
    for file in files_in(tmp_path / "of-run").keys() - {"export.json"}:
        assert files_in(tmp_path / "of-merged")[file] == files_in(tmp_path / "of-run")[file]
    export(merged_run, tmp_path / "again", "parts")
    assert pq.read_table(merged(tmp_path / "again")[0]).to_pylist() == rows_of(run)
    with pytest.raises(UsageError, match="merge it with `--keep`"):
        export(merged_run, tmp_path / "no", "jsonl", selection=Selection(keep="keep.parquet"))
    # Other tools, and exports that are no parts, name the run.
    for words in (["status", str(merged_run)], ["card", str(tmp_path / "of-run")]):
        assert cli.run(words) == 2
        assert f"exported or merged from `{run}`" in capsys.readouterr().err
    with pytest.raises(NotFoundError, match=f"pass `{run}`"):
        export(tmp_path / "of-run", tmp_path / "no", "jsonl")
    other = tmp_path / "other"
    other.mkdir()
    shutil.copy(run / "run.json", other)
    with pytest.raises(UsageError, match="a folder that is in no other output"):
        export(run, other / "tokens/merged", "parts")
