"""From a run to files: which clips, in which order, once each, and the same bytes again."""

import hashlib
import itertools
import json
import re
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs import cli
from pipeline.errors import IdentityError, InputError, LeaseError, OutputError, UsageError
from pipeline.export import samples, shard_writing, shuffle
from pipeline.export.catalogue import FORMATS
from pipeline.export.contract import FormatOptions, Sample
from pipeline.export.destination import LEASE_FOLDER
from pipeline.export.export import run_export
from pipeline.export.exporter import ExportRequest
from pipeline.export.record import parse_record
from pipeline.export.selection import Selection
from pipeline.fleet import lease
from pipeline.output import parquet_file
from pipeline.read.dataset import open_dataset
from pipeline.storage.client import Storage
from tests.support.audit_run import make_run
from tests.support.export_case import hash_of
from tests.support.export_format import TabSeparated
from tests.support.export_run import CLIPS_EACH, export, files_in, rows_of
from tests.support.s3_server import S3Server
from tests.support.shard_maker import pair, write_shard


def lines_of(folder: Path) -> list[dict[str, Any]]:
    files = sorted(folder.rglob("*.jsonl"))
    return [json.loads(line) for file in files for line in file.read_text().splitlines()]


def frames(codes: list[list[int]]) -> list[list[int]]:
    """`[K][T]` as `[T][K]`."""
    return [list(frame) for frame in zip(*codes, strict=True)]


def keys_of(run: Path, folder: Path, **changes: Any) -> list[str]:
    export(run, folder, "jsonl", columns=("key",), **changes)
    return [line["key"] for line in lines_of(folder)]


def test_every_clip_with_text_comes_once_in_the_order_of_shards_and_rows(
    run: Path, tmp_path: Path
) -> None:
    record = export(run, tmp_path / "out", "jsonl")
    lines, rows = lines_of(tmp_path / "out"), [row for row in rows_of(run) if row["text"]]
    for line, row in zip(lines, rows, strict=True):
        assert line["text"] == row["text"].strip()
        assert line["audio_codes"] == frames(row["codes"])
    assert record.clips == len(lines) == 3 * (CLIPS_EACH - 1)
    assert record.left_out == {"no_text": 3}
    assert {line["language"] for line in lines} == {"English", "French"}


@pytest.mark.parametrize("name", ["omnivoice", "parquet"])
def test_files_that_grow_beyond_memory_leave_nothing_on_the_local_disk(
    name: str, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = export(run, tmp_path / "out", name)
    monkeypatch.setattr(parquet_file, "_MEMORY_BYTES", 0)
    (tmp_path / "disk").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "disk"))
    record = export(run, tmp_path / "again", name)
    assert list((tmp_path / "disk").iterdir()) == []
    assert record.files[0].sha256 == expected.files[0].sha256


@pytest.mark.parametrize("name", sorted(set(FORMATS) - {"moss-ttsd"}))
def test_equal_exports_have_equal_bytes_and_their_record_has_the_hashes(
    name: str, run: Path, tmp_path: Path
) -> None:
    both = []
    for _ in range(2):
        record = export(run, tmp_path / "out", name, samples_per_shard=5, command="the same")
        both.append(files_in(tmp_path / "out"))
        shutil.rmtree(tmp_path / "out")
    assert both[0] == both[1]
    written = dict(both[0])
    assert parse_record("", written.pop("export.json")) == record
    assert {file.path for file in record.files} == set(written)
    for file in record.files:
        content = written[file.path]
        assert (file.size_bytes, file.sha256) == (len(content), hash_of(content))
    assert sum(split.clips for split in record.splits.values()) == record.clips


def test_an_export_that_ended_is_not_done_again(run: Path, tmp_path: Path) -> None:
    first = export(run, tmp_path / "out", "jsonl")
    (tmp_path / "out/train/codes-00000.jsonl").unlink()
    assert export(run, tmp_path / "out", "jsonl") == first
    assert set(files_in(tmp_path / "out")) == {"export.json"}


def test_another_request_in_the_same_folder_is_refused(run: Path, tmp_path: Path) -> None:
    export(run, tmp_path / "out", "jsonl")
    with pytest.raises(IdentityError, match="codebooks: output has `8`, this run has `4`"):
        export(run, tmp_path / "out", "jsonl", codebooks=4)


def test_an_export_that_failed_goes_on_with_the_shards_that_are_left(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export(run, tmp_path / "whole", "webdataset", samples_per_shard=5)
    real = shard_writing.write_shard
    written: list[int] = []

    def write(exporter: Any, split: int, number: int, samples: Iterable[Sample]) -> None:
        if number == 2 and not written.count(2):
            written.append(2)
            raise InputError("the disk is gone")
        written.append(number)
        real(exporter, split, number, samples)

    monkeypatch.setattr(shard_writing, "write_shard", write)
    for expected in (pytest.raises(InputError), None):
        if expected:
            with expected:
                export(run, tmp_path / "out", "webdataset", samples_per_shard=5)
            assert not (tmp_path / "out/export.json").exists()
        else:
            export(run, tmp_path / "out", "webdataset", samples_per_shard=5)
    assert written == [0, 1, 2, 2, 3, 4]
    assert files_in(tmp_path / "out") == files_in(tmp_path / "whole")


def test_shards_that_were_lost_are_not_passed_over(run: Path, tmp_path: Path) -> None:
    request = ExportRequest(str(run), str(tmp_path / "out"), "shar", Storage())
    with pytest.raises(OutputError, match="records of 0 clips, 24 were to be exported"):
        run_export(request, write_shards=lambda *_: iter(()))
    assert run_export(request).clips == 24


def test_two_commands_never_write_into_one_folder_at_once(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "RENEW_SECONDS", 0.3)
    out, other = tmp_path / "out", tmp_path / "other"
    with lease.hold_lease(Storage(), str(out), wait=None, folder=LEASE_FOLDER):
        with pytest.raises(LeaseError, match=rf"`{out}` is in work by .*; wait for it, or stop it"):
            export(run, out, "jsonl")
        assert list(files_in(out)) == ["_export/lease/1.json"]
    export(run, out, "jsonl")
    export(run, other, "jsonl")
    assert files_in(out).keys() == files_in(other).keys()
    assert not (out / "_export").exists()


def test_a_shuffle_has_no_files_that_a_kill_would_leave(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    rows = np.arange(1000)
    with shuffle.Spool(partial(shuffle.shuffled_places, seed=1), 1 << 30) as spool:
        for part in np.split(rows, 4):
            spool.add(0, pa.table({samples.ROW: part}))
        tables = list(itertools.islice(spool.read(0), 3))
        assert not list(tmp_path.iterdir())
        tables += spool.read(0)
    mixed = pa.concat_tables(tables)[samples.ROW].to_numpy()
    assert np.array_equal(mixed, rows[np.argsort(shuffle.shuffled_places(rows, 1))])


def test_a_run_that_grew_is_refused_until_its_export_has_another_folder(
    run: Path, tmp_path: Path
) -> None:
    grown = tmp_path / "run"
    shutil.copytree(run, grown, ignore=shutil.ignore_patterns("index"))
    (manifest,) = grown.glob("manifests/FR/*.json")
    manifest.rename(tmp_path / "later")
    assert export(grown, tmp_path / "out", "jsonl").clips == 2 * (CLIPS_EACH - 1)
    (tmp_path / "later").rename(manifest)
    with pytest.raises(IdentityError, match="it had 2 finished shards, and has 3"):
        export(grown, tmp_path / "out", "jsonl")


def test_where_sees_columns_and_fields_of_the_json(run: Path, tmp_path: Path) -> None:
    where = "dnsmos >= 3 and style.mood == 'calm' and shard != null"
    keys = keys_of(run, tmp_path / "out", selection=Selection(where=where))
    wanted = [row["key"] for row in rows_of(run) if row["dnsmos"] >= 3]
    assert keys == [key for key in wanted if int(key[-1]) % 2]


def test_a_misspelt_field_is_refused_with_the_nearest_and_leaves_nothing(
    run: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=r"`dnsmo` .expected `dnsmos`"):
        export(run, tmp_path / "out", "jsonl", selection=Selection(where="dnsmo > 3"))
    assert not (tmp_path / "out").exists()


def test_a_number_in_quotes_is_refused_and_leaves_nothing(run: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"`dnsmos` with text, and all 24 values .* are numbers"):
        export(run, tmp_path / "out", "jsonl", selection=Selection(where="dnsmos > '3'"))
    assert not (tmp_path / "out").exists()


def test_rows_of_another_type_than_the_filter_has_are_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    members = [*pair("odd", snr="3,1"), *pair("good", seed=1, snr=4), *pair("low", seed=2, snr=2)]
    write_shard(tmp_path / "in/a.tar", members)
    run = make_run(tmp_path / "run", str(tmp_path / "in"), root=str(tmp_path))
    record = export(run, tmp_path / "out", "jsonl", selection=Selection(where="snr > 3"))
    assert (record.clips, record.left_out) == (1, {"where": 1, "where_other_type": 1})
    assert "1 clip is left out by `--where`: `snr` is compared with numbers" in caplog.text


def keep_file(path: Path, rows: list[tuple[str, int, str, bool]], sha256: str = "") -> Path:
    names = ("shard", "row", "key", "keep")
    columns = dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))
    columns |= {"part_sha256": [sha256 for _ in rows]} if sha256 else {}
    pq.write_table(pa.table(columns | {"reason": ["" for _ in rows]}), path)
    return path


def test_only_rows_that_the_keep_list_keeps_are_exported(run: Path, tmp_path: Path) -> None:
    url = {row["key"]: row["shard"] for row in rows_of(run)}
    keep = keep_file(
        tmp_path / "keep.parquet",
        [
            ("EN/a.tar", 0, "EN_a_0000", True),
            ("EN/a.tar", 1, "EN_a_0001", False),
            (url["EN_b_0003"], 3, "EN_b_0003", True),
        ],
    )
    folder = tmp_path / "out"
    assert keys_of(run, folder, selection=Selection(keep=str(keep))) == ["EN_a_0000", "EN_b_0003"]
    left_out = json.loads((folder / "export.json").read_text())["left_out"]
    assert left_out == {"no_text": 3, "not_in_keep_list": 18, "not_kept": 1}


def test_a_keep_list_of_another_run_is_refused(run: Path, tmp_path: Path) -> None:
    keep = keep_file(tmp_path / "keep.parquet", [("EN/a.tar", 1, "EN_a_0009", True)])
    with pytest.raises(
        UsageError,
        match=r"another run: it has the key `EN_a_0009` in row 1 of `EN/a.tar`, .* `EN_a_0001`",
    ):
        export(run, tmp_path / "out", "jsonl", selection=Selection(keep=str(keep)))


def test_a_keep_list_of_other_shards_is_refused(run: Path, tmp_path: Path) -> None:
    keep = keep_file(
        tmp_path / "keep.parquet", [("DE/x.tar", 0, "k", True), ("DE/y.tar", 0, "k", True)]
    )
    said = (
        r"belongs to another run: it names none of this one's shards, but `DE/x.tar` and 1 other;"
    )
    with pytest.raises(UsageError, match=said):
        export(run, tmp_path / "out", "jsonl", selection=Selection(keep=str(keep)))
    with pytest.raises(UsageError, match=said):
        list(open_dataset(run, keep=keep))
    assert not (tmp_path / "out").exists()


def test_a_keep_list_of_other_codes_of_the_run_is_refused(run: Path, tmp_path: Path) -> None:
    part = next((run / "tokens").rglob("a.parquet"))
    rows = [("EN/a.tar", 0, "EN_a_0000", True)]
    right = keep_file(tmp_path / "1", rows, hashlib.sha256(part.read_bytes()).hexdigest())
    assert keys_of(run, tmp_path / "out", selection=Selection(keep=str(right))) == ["EN_a_0000"]
    other = keep_file(tmp_path / "2", rows, "0" * 64)
    with pytest.raises(UsageError, match=r"another run: it is of other codes of `EN/a\.tar`"):
        export(run, tmp_path / "refused", "jsonl", selection=Selection(keep=str(other)))
    assert [row.key for row in open_dataset(run, keep=right)] == ["EN_a_0000"]
    with pytest.raises(UsageError, match=r"another run: it is of other codes of `EN/a\.tar`"):
        list(open_dataset(run, keep=other))


def test_of_equal_audio_the_first_clip_is_exported(run: Path, tmp_path: Path) -> None:
    export(run, tmp_path / "out", "parquet", selection=Selection(dedup=True))
    table = pq.read_table(next((tmp_path / "out/train").glob("*.parquet")))
    first: dict[int, str] = {}
    for row in rows_of(run):
        first.setdefault(row["audio_xxh64"], row["key"])
    assert table["key"].to_pylist() == list(first.values())
    assert len(first) < len(rows_of(run))


def test_splits_never_share_a_speaker(run: Path, tmp_path: Path) -> None:
    selection = Selection(split="train=0.5,dev=0.5")
    record = export(run, tmp_path / "out", "shar", selection=selection)
    speakers = {}
    for name in ("train", "dev"):
        export(run, tmp_path / "p", "parquet", selection=selection)
        tables = [pq.read_table(file) for file in (tmp_path / f"p/{name}").glob("*.parquet")]
        speakers[name] = {s for table in tables for s in table["speaker"].to_pylist()}
        assert (tmp_path / f"out/{name}/cuts.000000.jsonl.gz").exists()
    assert speakers["train"] | speakers["dev"] == {"S0", "S1", "S2", "S3"}
    assert not speakers["train"] & speakers["dev"]
    assert sum(split.clips for split in record.splits.values()) == 3 * CLIPS_EACH


def test_a_split_without_a_clip_is_refused_unless_allowed(run: Path, tmp_path: Path) -> None:
    split = "train=0.999,dev=0.001"
    with pytest.raises(UsageError, match=r"leaves `dev` without a clip: .* have 4 speakers"):
        export(run, tmp_path / "out", "jsonl", selection=Selection(split=split))
    assert not (tmp_path / "out").exists()
    allowed = Selection(split=split, allow_empty_split=True)
    record = export(run, tmp_path / "out", "jsonl", selection=allowed)
    assert record.splits["dev"].clips == 0
    assert "allow_empty_split" not in record.request["selection"]


def test_the_shares_that_splits_got_are_told_beside_those_asked_for(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    words = ["export", str(run), str(tmp_path / "out"), "--to", "parquet", "--split"]
    assert cli.run([*words, "train=0.6,dev=0.4"]) == 0
    said = capsys.readouterr().out
    assert re.search(r"splits    train \d+ \(\d\d\.0%, asked 60\.0%\), dev \d+", said)
    assert "more than a quarter of their shares" in caplog.text
    assert "by the hash of their names, and the clips have 4 speakers" in caplog.text


@pytest.mark.parametrize("split", ["train=1,train=0", "train=0.5,dev=0.4", "train", "a/b=1", "=1"])
def test_splits_that_are_no_shares_are_refused(split: str) -> None:
    with pytest.raises(UsageError, match="expected different names with shares"):
        Selection(split=split).splits()


def test_a_shuffle_is_one_permutation_however_many_buckets_it_takes(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = keys_of(run, tmp_path / "one", shuffle=1, samples_per_shard=4)
    in_order = [row["key"] for row in rows_of(run) if row["text"]]
    assert sorted(keys) == in_order != keys
    assert len(list((tmp_path / "one/train").glob("*.jsonl"))) == 6  # 21 clips, 4 in a file
    monkeypatch.setattr(shuffle, "_BUCKET_BYTES", 1000)
    monkeypatch.setattr(shuffle, "_BUFFER_BYTES", 1000)
    keys_of(run, tmp_path / "two", shuffle=1, samples_per_shard=4)
    assert files_in(tmp_path / "two") == files_in(tmp_path / "one")
    assert keys_of(run, tmp_path / "three", shuffle=2) != keys


def test_a_reference_is_another_clip_of_the_speaker_in_the_same_shard(
    run: Path, tmp_path: Path
) -> None:
    record = export(run, tmp_path / "out", "jsonl", pair_reference=True, columns=("key",))
    clips = {row["key"]: row for row in rows_of(run)}
    paired = [line for line in lines_of(tmp_path / "out") if "ref_audio_codes" in line]
    for line in paired:
        clip = clips[line["key"]]
        others = [
            frames(row["codes"])
            for row in clips.values()
            if (row["speaker"], row["shard"]) == (clip["speaker"], clip["shard"])
            and row["key"] != clip["key"]
        ]
        assert line["ref_audio_codes"] in others
    # In each shard the clip without text leaves one speaker with a single clip.
    assert record.splits["train"].with_reference == len(paired) == 18


def test_only_the_first_codebooks(run: Path, tmp_path: Path) -> None:
    record = export(run, tmp_path / "out", "jsonl", codebooks=3)
    lines, rows = lines_of(tmp_path / "out"), [row for row in rows_of(run) if row["text"]]
    for line, row in zip(lines, rows, strict=True):
        assert line["audio_codes"] == frames(row["codes"][:3])
    assert (record.num_codebooks, record.codebook_sizes) == (3, (1024,) * 3)


def test_a_file_ends_before_it_passes_the_size(run: Path, tmp_path: Path) -> None:
    record = export(run, tmp_path / "out", "mds", max_bytes=4000)
    sizes = [f.size_bytes for f in record.files if f.path.endswith(".mds")]
    assert len(sizes) > 3
    assert max(sizes) < 4000


def with_one_key_twice(run: Path, folder: Path) -> Path:
    """A run in which a key of one shard is that of another shard as well."""
    shutil.copytree(run, folder)
    part = folder / "tokens/FR/c.parquet"
    table = pq.read_table(part)
    keys = ["EN_a_0001", *table["key"].to_pylist()[1:]]
    place = table.schema.get_field_index("key")
    field = table.schema.field("key")
    pq.write_table(table.set_column(place, field, pa.array(keys)), part)
    return folder


def test_a_key_of_two_clips_is_refused_or_prefixed(run: Path, tmp_path: Path) -> None:
    twice = with_one_key_twice(run, tmp_path / "run")
    with pytest.raises(UsageError, match=r"`EN_a_0001` in EN/a.tar and FR/c.tar"):
        export(twice, tmp_path / "out", "shar")
    assert export(twice, tmp_path / "lines", "jsonl").clips == 21  # which has no ids
    export(twice, tmp_path / "out", "omnivoice", duplicate_keys="prefix")
    labels = lines_of(tmp_path / "out/train/txts")
    ids = [label["id"] for label in labels]
    assert {"EN_a-EN_a_0001", "FR_c-EN_a_0001"} < set(ids)
    assert max(Counter(ids).values()) == 1


def test_columns_go_where_the_format_has_room(run: Path, tmp_path: Path) -> None:
    export(run, tmp_path / "lines", "jsonl", columns=("dnsmos", "speaker"))
    assert [line["dnsmos"] for line in lines_of(tmp_path / "lines")][:2] == [2.0, 2.25]
    export(run, tmp_path / "table", "parquet", columns=("audio_xxh64",))
    table = pq.read_table(next((tmp_path / "table/train").glob("*.parquet")))
    assert table["audio_xxh64"].to_pylist() == [row["audio_xxh64"] for row in rows_of(run)]
    with pytest.raises(UsageError, match=r"`--columns dnsmo` .* expected `dnsmos`"):
        export(run, tmp_path / "out", "jsonl", columns=("dnsmo",))


def test_codes_that_the_trainer_does_not_know_need_a_word(run: Path, tmp_path: Path) -> None:
    fewer: dict[str, Any] = {"codebooks": 4}
    with pytest.raises(IdentityError, match=r"8 codebooks of 1,024.*4 codebooks of 1,024"):
        export(run, tmp_path / "out", "omnivoice", **fewer)
    assert export(run, tmp_path / "out", "omnivoice", allow_codec=True, **fewer).clips == 21


def test_options_that_a_format_would_ignore_are_refused(run: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="`--to mds` has no use for `--nemo`, `--pair-reference`"):
        export(run, tmp_path / "out", "mds", options=FormatOptions(nemo=True), pair_reference=True)


def test_a_destination_may_be_a_bucket(run: Path, tmp_path: Path, s3: S3Server) -> None:
    storage = Storage({"s3": s3.storage_options()})
    fs = storage.filesystem("s3://exported")[0]
    fs.mkdir("exported")
    for _ in range(2):
        export(run, "s3://exported/out", "shar", storage=storage, samples_per_shard=7)
    export(run, tmp_path / "out", "shar", samples_per_shard=7)
    stored = {
        file.url.removeprefix("s3://exported/out/"): storage.read_bytes(file.url)
        for file in storage.list_files("s3://exported/out")
    }
    assert stored == files_in(tmp_path / "out")


def test_a_new_format_is_a_class_and_a_line_of_the_catalogue(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(FORMATS, "tsv", f"{TabSeparated.__module__}:{TabSeparated.__name__}")
    export(run, tmp_path / "out", "tsv", samples_per_shard=10)
    lines = (tmp_path / "out/train/0.tsv").read_text().splitlines()
    rows = rows_of(run)[:10]
    assert lines == [f"{row['key']}\t{row['num_frames']}" for row in rows]


def test_the_command_tells_what_came_out_and_what_the_trainer_will_hold(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = str(tmp_path / "out")
    split = ["--split", "train=0.9,dev=0.1", "--allow-empty-split"]
    words = ["export", str(run), folder, "--to", "jsonl", *split, "-q"]
    assert cli.run(words) == 0
    told = capsys.readouterr().out
    assert "exported  21 clips" in told
    assert "left out  3 no_text" in told
    assert "memory    the trainer loads all codes at its start" in told
    assert cli.run([*words, "--shuffle", "1"]) == 2
    assert "shuffle: output has `None`, this run has `1`" in capsys.readouterr().err
    assert cli.run(["export", str(run), folder, "--to", "jsnl"]) == 2
    assert "expected `jsonl`" in capsys.readouterr().err
