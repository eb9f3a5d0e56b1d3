"""Exports of a run, opened by the readers of the trainers themselves."""

import json
import pickle
import struct
import tarfile
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import numpy as np
import pytest

from pipeline.errors import IdentityError
from pipeline.export.contract import FormatOptions
from tests.support.export_case import byte_tokenizer
from tests.support.export_run import export, rows_of

# Readers of tars leave their files open until they are collected.
pytestmark = pytest.mark.filterwarnings(
    "ignore:.*unclosed file:ResourceWarning",
    "ignore::pytest.PytestUnraisableExceptionWarning",
)


@pytest.fixture(scope="module")
def rows(run: Path) -> list[dict[str, Any]]:
    return rows_of(run)


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    # Not by the environment: whoever imports the hub first then would be offline for good.
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)


def load(kind: str, files: str, folder: Path) -> list[dict[str, Any]]:
    datasets = pytest.importorskip("datasets")
    found = datasets.load_dataset(
        kind, data_files=files, split="train", cache_dir=str(folder / "cache")
    )
    return list(found.with_format("numpy"))


def test_datasets_give_parquet_as_arrays_of_frames(
    run: Path, tmp_path: Path, rows: list[dict[str, Any]]
) -> None:
    export(run, tmp_path / "out", "parquet", columns=("dnsmos",), samples_per_shard=10)
    read = load("parquet", str(tmp_path / "out/train/*.parquet"), tmp_path)
    for got, row in zip(read, rows, strict=True):
        assert np.array_equal(got["codes"], np.array(row["codes"]).T)
        assert (got["key"], got["dnsmos"]) == (row["key"], row["dnsmos"])


def test_datasets_read_flat_ids(run: Path, tmp_path: Path, rows: list[dict[str, Any]]) -> None:
    export(run, tmp_path / "out", "flat")
    read = load("parquet", str(tmp_path / "out/train/*.parquet"), tmp_path)
    assert len(read) == len(rows)
    ids = np.array(rows[0]["codes"]).T + 1024 * np.arange(8)
    assert np.array_equal(read[0]["input_ids"], ids.reshape(-1))


def test_datasets_read_the_tars_of_omnivoice_that_have_json(
    run: Path, tmp_path: Path, rows: list[dict[str, Any]]
) -> None:
    export(run, tmp_path / "out", "omnivoice", options=FormatOptions(json_in_tar=True))
    read = load("webdataset", str(tmp_path / "out/train/audios/*.tar"), tmp_path)
    with_text = [row for row in rows if row["text"]]
    for got, row in zip(read, with_text, strict=True):
        assert np.array_equal(got["npy"], row["codes"])
        assert got["json"]["num_tokens"] == row["num_frames"]


def test_webdataset_decodes_its_tars(run: Path, tmp_path: Path, rows: list[dict[str, Any]]) -> None:
    import webdataset

    export(run, tmp_path / "out", "webdataset", samples_per_shard=10, pair_reference=True)
    urls = [str(path) for path in sorted((tmp_path / "out/train").glob("*.tar"))]
    read = list(webdataset.WebDataset(urls, shardshuffle=False).decode())
    assert len(urls) == 3
    for got, row in zip(read, rows, strict=True):
        assert got["__key__"] == row["key"]
        assert np.array_equal(got["npy"], row["codes"])
        assert got["json"]["speaker"] == row["speaker"]
        assert got["ref.npy"].shape[0] == 8


@pytest.mark.parametrize("layout", ["TK", "KT"])
def test_lhotse_reads_cuts_with_their_codes(
    layout: Any, run: Path, tmp_path: Path, rows: list[dict[str, Any]]
) -> None:
    lhotse = pytest.importorskip("lhotse")
    options = FormatOptions(layout=layout)
    export(run, tmp_path / "out", "shar", samples_per_shard=10, options=options)
    cuts = list(lhotse.CutSet.from_shar(in_dir=str(tmp_path / "out/train")))
    for cut, row in zip(cuts, rows, strict=True):
        codes = np.array(row["codes"])
        assert np.array_equal(cut.codes.load(), codes.T if layout == "TK" else codes)
        assert cut.supervisions[0].text == (row["text"].strip() if row["text"] else None)
        assert abs(cut.duration - row["num_frames"] * 0.08) < 1e-6
    if layout == "TK":
        # What lhotse does itself with such a cut, and what it cannot do with the other layout.
        half = cuts[7].truncate(duration=0.16)
        assert np.array_equal(half.load_codes(), np.array(rows[7]["codes"]).T[:2])
        assert np.array_equal(cuts[0].load_codes(), np.array(rows[0]["codes"]).T)


def test_lhotse_reads_target_and_context_codes_for_nemo(
    run: Path, tmp_path: Path, rows: list[dict[str, Any]]
) -> None:
    lhotse = pytest.importorskip("lhotse")
    options = FormatOptions(nemo=True, dataset_name="emilia")
    export(run, tmp_path / "out", "shar", options=options, pair_reference=True)
    fields = {
        "cuts": [str(tmp_path / "out/train/cuts/cuts.000000.jsonl.gz")],
        "target_codes": [str(tmp_path / "out/train/fake/target_codes/codes.000000.tar")],
        "context_codes": [str(tmp_path / "out/train/fake/context_codes/codes.000000.tar")],
    }
    for cut, row in zip(lhotse.CutSet.from_shar(fields=fields), rows, strict=True):
        assert np.array_equal(cut.target_codes.load(), row["codes"])
        assert cut.context_codes.load().shape[0] == 8


def test_datatrove_reads_windows_of_tokens(
    run: Path, tmp_path: Path, rows: list[dict[str, Any]]
) -> None:
    dataset = pytest.importorskip("datatrove.utils.dataset")
    export(run, tmp_path / "out", "datatrove")
    opened = dataset.DatatroveFolderDataset(
        str(tmp_path / "out/train"), seq_len=31, token_size=2, return_positions=True
    )
    flat = [np.array(row["codes"]).T + 1024 * np.arange(8) for row in rows]
    whole = np.concatenate([ids.reshape(-1) for ids in flat])
    places = np.concatenate([np.arange(ids.size) for ids in flat])
    assert len(opened) == len(whole) // 32
    for number in range(len(opened)):
        window = opened[number]
        span = slice(number * 32, number * 32 + 32)
        assert np.array_equal(window["input_ids"], whole[span])
        # The reader counts from the window's start where a clip began before it.
        assert np.array_equal(window["positions"], np.minimum(places[span], np.arange(32)))


def test_protobuf_parses_what_fish_speech_reads(
    run: Path, tmp_path: Path, rows: list[dict[str, Any]]
) -> None:
    export(run, tmp_path / "out", "fish", options=FormatOptions(dataset_name="emilia"))
    content = (tmp_path / "out/train/00000000.protos").read_bytes()
    message, found = text_data(), []
    while content:
        (size,) = struct.unpack_from("<I", content)
        record = message.FromString(content[4 : 4 + size])
        assert record.SerializeToString() == content[4 : 4 + size]
        found.append(record)
        content = content[4 + size :]
    assert [record.name for record in found] == ["S0", "S1", "S3", "S2"]
    for record in found:
        own = [row for row in rows if row["speaker"] == record.name and row["text"]]
        for sentence, row in zip(record.sentences, own, strict=True):
            assert list(sentence.texts) == [row["text"].strip()]
            assert [list(book.values) for book in sentence.semantics] == row["codes"]


def text_data() -> Any:
    """The message class of upstream's `text-data.proto`, from its field numbers."""
    descriptor_pb2 = pytest.importorskip("google.protobuf.descriptor_pb2")
    descriptor_pool = pytest.importorskip("google.protobuf.descriptor_pool")
    message_factory = pytest.importorskip("google.protobuf.message_factory")
    file = descriptor_pb2.FileDescriptorProto(name="t.proto", package="t", syntax="proto3")
    kinds = {"string": 9, "uint32": 13}
    messages = {
        "Semantics": [("values", 1, "uint32", True)],
        "Sentence": [("texts", 1, "string", True), ("semantics", 3, "Semantics", True)],
        "TextData": [
            ("source", 1, "string", False),
            ("name", 2, "string", False),
            ("sentences", 4, "Sentence", True),
        ],
    }
    for name, fields in messages.items():
        message = file.message_type.add(name=name)
        for field, number, kind, is_list in fields:
            own = message.field.add(name=field, number=number, label=3 if is_list else 1)
            own.type = kinds.get(kind, 11)
            if kind not in kinds:
                own.type_name = f".t.{kind}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("t.TextData"))


def test_records_of_moss_ttsd_are_found_by_their_offsets(
    run: Path, tmp_path: Path, rows: list[dict[str, Any]]
) -> None:
    tokenizer = tmp_path / "tokenizer.json"
    tokenizer.write_bytes(byte_tokenizer([(152694, "<|end_of_speech|>")]))
    options = FormatOptions(tokenizer=str(tokenizer))
    with pytest.raises(IdentityError, match="these were made by `fake`"):
        export(run, tmp_path / "out", "moss-ttsd", options=options)
    export(run, tmp_path / "out", "moss-ttsd", options=options, allow_codec=True)
    folder = tmp_path / "out/train"
    offsets, lengths, frames = np.load(folder / "codes-00000_metas.npy")
    with_text = [row for row in rows if row["text"]]
    with (folder / "codes-00000.pkl").open("rb") as file:
        for place, row in enumerate(with_text):
            file.seek(offsets[place])
            inputs = np.array(pickle.load(file)["input_ids"])
            assert inputs.shape == (lengths[place], 8)
            assert frames[place] == row["num_frames"]
            codes = inputs[-1 - row["num_frames"] : -1]
            assert np.array_equal(codes[:, 1:], np.array(row["codes"]).T[:, 1:])
            assert np.array_equal(codes[:, 0] - 151665, row["codes"][0])


def test_lists_of_omnivoice_name_files_whose_clips_agree(run: Path, tmp_path: Path) -> None:
    export(run, tmp_path / "out", "omnivoice", samples_per_shard=8)
    (named,) = json.loads((tmp_path / "out/data.json").read_text())["train"]
    lines = Path(named["manifest_path"][0]).read_text().splitlines()
    assert len(lines) == 3
    for line in lines:
        tar, labels, clips, seconds = line.split()
        read = [json.loads(each) for each in Path(labels).read_text().splitlines()]
        with tarfile.open(tar) as members:
            assert members.getnames() == [f"{label['id']}.npy" for label in read]
        assert len(read) == int(clips)
        assert abs(sum(label["audio_duration"] for label in read) - float(seconds)) < 1e-3
