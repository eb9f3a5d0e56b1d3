"""Reading codes back: every clip once over ranks and workers, and resume goes on where it was."""

import json
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import s3fs
import torch

from jobs import cli
from pipeline.corpus.listing import list_shards
from pipeline.errors import InputError, UsageError
from pipeline.output.parquet_layout import IDENTITY_KEY
from pipeline.read.dataset import CodesDataset, Position, open_dataset
from pipeline.read.torch_dataset import TorchCodes
from pipeline.storage.client import Storage
from tests.support.inline_run import run_shards
from tests.support.s3_server import S3Server
from tests.support.shard_maker import emilia_json, pairs, write_shard

NUM_SHARDS, CLIPS_EACH = 6, 7


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dataset")
    for number in range(NUM_SHARDS):
        members = pairs(CLIPS_EACH, 0.5, prefix=f"s{number}-")
        for index in range(0, len(members), 2):
            name = members[index][0].removesuffix(".json")
            members[index] = (f"{name}.json", emilia_json(name, dnsmos=float(index)))
        write_shard(folder / "in" / f"{number}.tar", members)
    run_shards(list_shards([str(folder / "in")], Storage()), folder / "out")
    return folder / "out"


def keys_of(dataset: CodesDataset, *stream: Any) -> list[str]:
    return [clip.rows[0].key for clip in dataset.stream(*stream)]


def all_keys(output: Path) -> list[str]:
    tables = [pq.read_table(part, columns=["key"]) for part in output.glob("tokens/**/*.parquet")]
    return sorted(str(key) for table in tables for key in table.column("key").to_pylist())


@pytest.mark.parametrize("where", ["dnsmos > '3'", "speaker == 0", "language in [1]"])
def test_a_type_that_no_clip_has_is_refused(output: Path, where: str) -> None:
    with pytest.raises(UsageError, match=r"and all 42 values of the first 42 clips are"):
        list(open_dataset(str(output), where=where))


def test_a_condition_of_another_type_than_its_column_is_refused(output: Path) -> None:
    with pytest.raises(
        UsageError, match="expected values of their columns' types: `dnsmos` double"
    ):
        list(open_dataset(str(output), where=(("dnsmos", ">", "3"),)))


def test_workers_that_are_spawned_read_it_and_torch_knows_its_class(output: Path) -> None:
    dataset = TorchCodes(open_dataset(str(output)))
    assert isinstance(dataset, torch.utils.data.IterableDataset)
    loader = torch.utils.data.DataLoader(
        dataset, batch_size=None, num_workers=1, multiprocessing_context="spawn"
    )
    assert [sample["key"] for sample in loader] == keys_of(dataset.dataset)


def test_codes_are_those_of_the_part(output: Path) -> None:
    dataset = open_dataset(str(output), columns=("dnsmos",))
    rows = [row for part in dataset.parts for row in pq.read_table(part).to_pylist()]
    for read, row in zip(dataset, rows, strict=True):
        assert read.key == row["key"]
        assert read.columns == {"dnsmos": row["dnsmos"]}
        assert np.array_equal(np.asarray(read.codes), row["codes"])


def test_first_codebooks_only(output: Path) -> None:
    whole, three = open_dataset(str(output)), open_dataset(str(output), num_codebooks=3)
    for full, cut in zip(whole, three, strict=True):
        assert np.array_equal(np.asarray(full.codes)[:3], np.asarray(cut.codes))


def test_more_codebooks_than_stored_are_refused(output: Path) -> None:
    with pytest.raises(UsageError, match="9 codebooks"):
        list(open_dataset(str(output), num_codebooks=9))


@pytest.mark.parametrize("shuffle_buffer", [0, 5])
def test_every_clip_comes_once_over_ranks_and_workers(output: Path, shuffle_buffer: int) -> None:
    seen: list[str] = []
    for rank in range(2):
        dataset = open_dataset(
            str(output), rank=rank, world_size=2, shuffle_buffer=shuffle_buffer, seed=3
        )
        seen += [key for worker in range(2) for key in keys_of(dataset, worker, 2)]
    assert sorted(seen) == all_keys(output)


def test_shuffled_epochs_differ_and_repeat(output: Path) -> None:
    dataset = open_dataset(str(output), shuffle_buffer=10)
    first, again = keys_of(dataset), keys_of(dataset)
    second = keys_of(dataset, 0, 1, Position(epoch=1))
    assert first == again
    assert first != second
    assert sorted(first) == sorted(second)


@pytest.mark.parametrize("shuffle_buffer", [0, 5])
@pytest.mark.parametrize("where", [(), (("dnsmos", ">", 4.0),)])
def test_resume_goes_on_where_it_was(output: Path, shuffle_buffer: int, where: Any) -> None:
    dataset = open_dataset(str(output), shuffle_buffer=shuffle_buffer, where=where)
    clips = list(dataset.stream())
    whole = [clip.rows[0].key for clip in clips]
    for seen in range(len(whole) + 1):
        position = Position()
        for clip in clips[:seen]:
            position.see(clip.window, clip.index)
        assert keys_of(dataset, 0, 1, position) == whole[seen:]


def test_conditions_keep_only_rows_that_fit(output: Path) -> None:
    dataset = open_dataset(str(output), columns=("dnsmos",), where=(("dnsmos", ">=", 6.0),))
    values = [row.columns["dnsmos"] for row in dataset]
    assert len(values) == NUM_SHARDS * (CLIPS_EACH - 3)
    assert min(values) >= 6.0


def test_a_column_that_is_not_there_is_named(output: Path) -> None:
    with pytest.raises(UsageError, match="`colour`"):
        list(open_dataset(str(output), columns=("colour",)))


@pytest.mark.parametrize(
    "changes",
    [
        {"shuffle_buffer": 7},
        {"seed": 2},
        {"where": (("dnsmos", ">", 0),)},
        {"where": "dnsmos > 0"},
        {"batch_frames": 100},
        {"world_size": 2},
        {"parts": 5},
    ],
)
def test_a_position_of_other_clips_is_refused(output: Path, changes: dict[str, Any]) -> None:
    dataset = open_dataset(str(output), shuffle_buffer=5)
    position = Position()
    clips = list(dataset.stream(position=position))[:9]
    position.see([clip.window for clip in clips], [clip.index for clip in clips])
    saved = position.to_dict()
    if "parts" in changes:
        changes = {"sources": (dataset.parts[:5],)}
    other = replace(dataset, **changes)
    with pytest.raises(UsageError, match="saved with other parts"):
        list(other.stream(position=Position.from_dict(saved)))
    assert len(list(dataset.stream(position=Position.from_dict(saved)))) == 42 - 9


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"num_codebooks": 0}, "0 codebooks"),
        ({"shuffle_buffer": -1}, "buffer of -1"),
        ({"columns": "text"}, "columns `text`"),
        ({"where": ("dnsmos", ">", 3)}, "the condition 'dnsmos'"),
        ({"where": (("dnsmos", "~", 3),)}, "'~'"),
        ({"world_size": 0}, "rank 0 of 0"),
    ],
)
def test_bad_options_are_named(output: Path, options: dict[str, Any], what: str) -> None:
    with pytest.raises(UsageError, match=what):
        open_dataset(str(output), **options)


def test_parts_of_two_codecs_are_not_mixed(output: Path, tmp_path: Path) -> None:
    for name in ("fake", "other"):
        shutil.copytree(output / "tokens", tmp_path / "both" / name / "tokens")
    for part in (tmp_path / "both" / "other").rglob("*.parquet"):
        table = pq.read_table(part)
        identity = json.loads(table.schema.metadata[IDENTITY_KEY])
        identity["codec"]["checkpoint_sha256"] = "1" * 64
        notes = {**table.schema.metadata, IDENTITY_KEY: json.dumps(identity).encode()}
        pq.write_table(table.replace_schema_metadata(notes), part)
    with pytest.raises(InputError, match="expected one codec"):
        list(open_dataset(str(tmp_path / "both")))
    assert len(list(open_dataset(str(tmp_path / "both" / "other")))) == NUM_SHARDS * CLIPS_EACH


def test_a_damaged_part_is_named_at_once(output: Path, tmp_path: Path) -> None:
    shutil.copytree(output, tmp_path / "out")
    part = next((tmp_path / "out" / "tokens").rglob("3.parquet"))
    column = pq.ParquetFile(part).metadata.row_group(0).column(0)
    with part.open("r+b") as file:
        file.seek(column.dictionary_page_offset or column.data_page_offset)
        file.write(b"\xff" * 60)
    began = time.monotonic()
    with pytest.raises(InputError, match=r"3\.parquet` is damaged"):
        list(open_dataset(str(tmp_path / "out")))
    assert time.monotonic() - began < 10  # trying again would take a minute


def test_workers_that_outlive_epochs_shuffle_anew(output: Path) -> None:
    codes = TorchCodes(open_dataset(str(output), shuffle_buffer=5))
    loader = torch.utils.data.DataLoader(
        codes, batch_size=None, num_workers=1, persistent_workers=True
    )
    orders = []
    for epoch in range(3):
        codes.set_epoch(epoch)
        orders.append([sample["key"] for sample in loader])
    assert all(sorted(order) == all_keys(output) for order in orders)
    assert orders[0] != orders[1] != orders[2]


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no parts"):
        open_dataset(str(tmp_path))


def batches(codes: TorchCodes, workers: int = 2) -> Any:
    def collate(samples: list[dict[str, Any]]) -> dict[str, list[Any]]:
        return {name: [sample[name] for sample in samples] for name in samples[0]}

    return torch.utils.data.DataLoader(codes, batch_size=4, num_workers=workers, collate_fn=collate)


@pytest.mark.parametrize("workers", [0, 1])
def test_other_loader_workers_resume_after_any_batch(output: Path, workers: int) -> None:
    dataset = open_dataset(str(output), shuffle_buffer=5)
    position, seen = Position(), []
    for number, batch in enumerate(batches(TorchCodes(dataset))):
        if number == 5:
            break
        seen += batch["key"]
        assert all(codes.dtype == torch.int16 and codes.shape[0] == 8 for codes in batch["codes"])
        position.see(batch["window"], batch["index"])
    saved = Position.from_dict(position.to_dict())
    for batch in batches(TorchCodes(dataset, saved), workers):
        seen += batch["key"]
    assert sorted(seen) == all_keys(output)


def test_loader_workers_read_from_s3(output: Path, s3: S3Server) -> None:
    client = s3fs.S3FileSystem(**s3.storage_options(), skip_instance_cache=True)
    client.mkdir("dataset")
    client.put(f"{output}/", "dataset/out/", recursive=True)
    storage = Storage({"s3": s3.storage_options()})
    dataset = open_dataset("s3://dataset/out", storage=storage)
    seen = [key for batch in batches(TorchCodes(dataset)) for key in batch["key"]]
    assert sorted(seen) == all_keys(output)


def test_reading_needs_neither_torch_nor_numpy_nor_ray(output: Path) -> None:
    code = (
        "import sys\n"
        "for name in ('torch', 'numpy', 'ray', 'soundfile', 's3fs'): sys.modules[name] = None\n"
        "from pipeline.read.dataset import open_dataset\n"
        f"print(sum(1 for _ in open_dataset({str(output)!r})))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert out.stdout.strip() == str(NUM_SHARDS * CLIPS_EACH), out.stderr


def test_parts_of_two_depths_are_mixed_only_for_their_first_codebooks(tmp_path: Path) -> None:
    write_shard(tmp_path / "in" / "a.tar", pairs(2))
    for depth in ("2", "5"):
        words = ["tokenize", str(tmp_path / "in"), str(tmp_path / "out" / depth), "--quiet"]
        options = ["--codec", "fake", "--codec-option", f"depth={depth}", "--engine", "inline"]
        assert cli.run([*words, *options]) == 0
    both = str(tmp_path / "out")
    with pytest.raises(InputError, match=r"depth 5.*depth 2.*num_codebooks"):
        list(open_dataset(both))
    shapes = {len(np.asarray(clip.codes)) for clip in open_dataset(both, num_codebooks=2)}
    assert shapes == {2}
