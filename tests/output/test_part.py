import gc
import json
from pathlib import Path

import datasets
import duckdb
import numpy as np
import pandas
import polars
import pyarrow.parquet as pq
import pytest

from pipeline.corpus.listing import list_shards
from pipeline.corpus.metadata import NO_METADATA, Metadata
from pipeline.corpus.rules import ReadRules
from pipeline.corpus.shard import Shard
from pipeline.errors import NodeError
from pipeline.output import parquet_file
from pipeline.output import part as part_module
from pipeline.output.identity import build_identity
from pipeline.output.parquet_layout import ROW_GROUP_ROWS
from pipeline.output.part import PartRow, PartWriter
from pipeline.output.schema import REJECT_SCHEMA, part_schema
from pipeline.storage.client import Storage
from tests.support.inline_run import run_shards, run_tar
from tests.support.shard_maker import pairs, write_shard
from tests.support.tmpfs import fill, mounted_tmpfs
from xy_codec.fake import FAKES, FakeCodec

IDENTITY = build_identity(FakeCodec().identity, ReadRules())


def row(number: int, frames: int, rng: np.random.Generator) -> PartRow:
    codes = rng.integers(0, 1024, (8, frames), dtype=np.int16)
    return PartRow(f"k{number}", codes, frames * 1920, 24000, NO_METADATA, number, 9, number)


def write_part(folder: Path, count: int, frames: int) -> Path:
    rng = np.random.default_rng(5)
    writer = PartWriter(Shard("/s.tar", "s.tar", 1, "e"), IDENTITY)
    try:
        for start in range(0, count, ROW_GROUP_ROWS):
            stop = min(count, start + ROW_GROUP_ROWS)
            writer.add_row_group([row(n, frames, rng) for n in range(start, stop)])
        written = writer.publish(Storage(), str(folder))
    finally:
        writer.discard()
    assert (folder / written.path).stat().st_size == written.size_bytes
    return folder / written.path


def test_random_codes_cost_no_more_than_two_per_cent_over_ten_bits(tmp_path: Path) -> None:
    part = write_part(tmp_path, 360, 125)
    meta = pq.read_metadata(part)
    size = sum(
        meta.row_group(g).column(1).total_compressed_size for g in range(meta.num_row_groups)
    )
    assert meta.row_group(0).column(1).path_in_schema.startswith("codes")
    assert size <= 1.02 * (360 * 125 * 8 * 10 / 8)


def test_single_rows_can_be_picked_by_row_groups_and_page_index(tmp_path: Path) -> None:
    meta = pq.read_metadata(write_part(tmp_path, 1200, 10))
    assert [meta.row_group(g).num_rows for g in range(meta.num_row_groups)] == [512, 512, 176]
    column = meta.row_group(0).column(0)
    assert column.has_offset_index
    assert column.has_column_index


def test_rows_with_more_codes_than_a_list_can_count_go_into_several_row_groups(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = pq.read_table(write_part(tmp_path / "whole", 10, 25))
    monkeypatch.setattr(part_module, "_MOST_CODES", 3 * 25 * 8)
    part = pq.ParquetFile(write_part(tmp_path / "cut", 10, 25))
    groups = [part.metadata.row_group(n).num_rows for n in range(part.num_row_groups)]
    assert groups == [2, 3, 2, 3]
    assert part.read().equals(whole)


def test_codes_come_back_k_major_from_pyarrow_and_duckdb(tmp_path: Path) -> None:
    part = write_part(tmp_path, 3, 7)
    rng = np.random.default_rng(5)
    wanted = [row(n, 7, rng).codes.tolist() for n in range(3)]
    assert pq.read_table(part)["codes"].to_pylist() == wanted
    found = duckdb.sql(f"select codes, codes[8][7] from '{part}' order by tar_offset").fetchall()
    assert [codes for codes, _ in found] == wanted
    assert [last for _, last in found] == [codes[7][6] for codes in wanted]


def test_datasets_polars_and_pandas_open_a_part_as_it_is(tmp_path: Path) -> None:
    part = write_part(tmp_path, 3, 7)
    wanted = pq.read_table(part)["codes"].to_pylist()
    opened = datasets.load_dataset(
        "parquet", data_files=str(part), split="train", cache_dir=str(tmp_path / "cache")
    )
    assert opened["codes"][:] == wanted
    assert polars.read_parquet(part)["codes"].to_list() == wanted
    frame = pandas.read_parquet(part)
    assert [[list(book) for book in codes] for codes in frame["codes"]] == wanted


def test_every_part_and_reject_file_has_the_same_schema(tmp_path: Path) -> None:
    write_shard(tmp_path / "in/full.tar", pairs(3))
    write_shard(tmp_path / "in/empty.tar", [])
    run_shards(list_shards([str(tmp_path / "in")], Storage()), tmp_path / "out")
    parts = list(tmp_path.glob("out/tokens/**/*.parquet"))
    assert len(parts) == 2
    for part in parts:
        assert pq.read_schema(part).remove_metadata().equals(part_schema(FAKES["fake"]))
    for rejects in tmp_path.glob("out/rejects/**/*.parquet"):
        assert pq.read_schema(rejects).remove_metadata().equals(REJECT_SCHEMA)


def test_the_footer_says_how_the_part_was_made_and_no_time(tmp_path: Path) -> None:
    notes = pq.read_schema(write_part(tmp_path, 1, 3)).metadata
    assert json.loads(notes[b"xytok.identity"])["codec"]["name"] == "fake"
    assert set(json.loads(notes[b"xytok.provenance"])) == {
        "xytok",
        "schema_version",
        "shard",
        "source_size_bytes",
        "source_etag",
    }


def test_metadata_types_survive_the_file(tmp_path: Path) -> None:
    writer = PartWriter(Shard("/s.tar", "s.tar", 1, "e"), IDENTITY)
    codes = np.zeros((8, 1), np.int16)
    metadata = Metadata(" ü", "S1", "zh", 3.25, 2**40, 1.5, '{"a":1}')
    writer.add_row_group([PartRow("k", codes, 1920, 24000, metadata, 5, 9, 2**64 - 1)])
    written = writer.publish(Storage(), str(tmp_path))
    (found,) = pq.read_table(tmp_path / written.path).to_pylist()
    assert (found["text"], found["phone_count"], found["dnsmos"]) == (" ü", 2**40, 3.25)
    assert (found["audio_xxh64"], found["duration"]) == (2**64 - 1, 0.08)
    assert (found["json_duration"], found["extra"]) == (1.5, '{"a":1}')


def test_manifests_of_equal_runs_are_equal(tmp_path: Path) -> None:
    tar = write_shard(tmp_path / "s.tar", pairs(3))
    run_tar(tar, tmp_path / "a")
    run_tar(tar, tmp_path / "b")
    (one,), (two,) = (list(tmp_path.glob(f"{n}/manifests/**/*.json")) for n in "ab")
    assert one.read_bytes() == two.read_bytes()
    assert one.name == two.name


# A small part is in the buffer of its file until it is published.
@pytest.mark.parametrize("rows", [1, 3 * ROW_GROUP_ROWS])
def test_a_full_disk_below_an_unfinished_part_is_the_fault_of_the_node(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    monkeypatch.setattr(parquet_file, "_MEMORY_BYTES", 0)
    with mounted_tmpfs(tmp_path, "size=64k") as disk:
        monkeypatch.setattr("tempfile.tempdir", str(disk))
        fill(disk)
        with pytest.raises(NodeError, match=r"No space left on device.*TMPDIR"):
            write_part(tmp_path / "out", rows, 20)
        assert [each.name for each in disk.iterdir()] == ["filler"]
        gc.collect()  # a file that is open would keep the disk
