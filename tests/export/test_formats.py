"""The bytes of every format: those of the trainers' own writers, on two clips."""

import gzip
import io
import json
import pickle
import tarfile
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest

from pipeline.errors import InputError, UsageError
from pipeline.export.catalogue import FORMATS
from pipeline.export.contract import Reference
from pipeline.export.formats.moss_ttsd import MossTtsd
from pipeline.export.languages import language_name
from pipeline.export.templates import SequenceFormat
from tests.support.export_case import (
    SPEAKER,
    byte_tokenizer,
    hash_of,
    make_format,
    toy_samples,
    written,
)
from xy_codec.fake import FAKES

# SHA-256 of files that were compared with those of the trainers' own writers, or read by their own
# readers. The cuts are hashed without gzip, whose header upstream writes with the time.
GOLDENS = {
    ("omnivoice", "audios/shard-000000.tar"): (
        "6adbd05ddac9d313bf33e76e6391a0260abe811b21122a058832bf9c50785d07"
    ),
    ("omnivoice", "txts/shard-000000.jsonl"): (
        "e2c76eed53fc0affb42e3109747cb264c582e9f42e9f885131ec3b10dbd62a8e"
    ),
    ("jsonl", "codes-00000.jsonl"): (
        "838ba621e0a71ee392e6252fd59bc4a58f23604ed8fb34f822bc208331ad4c51"
    ),
    ("shar", "codes.000000.tar"): (
        "dfffb2cba2fde209539ef82818858640f85940a0574ab8de10b504afccd63c8d"
    ),
    ("shar --layout KT", "codes.000000.tar"): (
        "97f4dbfb4fa39394e3fbb1252f76a7b3916eecffa584910e8f02f1d820fd0c33"
    ),
    ("shar --layout KT", "cuts.000000.jsonl.gz"): (
        "d09e36058c2b922b2fe35f416c3095571d1fa6bc859576f5dcb2e6d736f299ef"
    ),
    ("megatron", "codes_00000_text_document.bin"): (
        "aca3eb8a7a8c023b4da2f08ff28450936911596596a040364defb098023ac573"
    ),
    ("megatron", "codes_00000_text_document.idx"): (
        "fba895fddfdd89eb4a0ef7d35ea72a5a384e02d20f1ed3dadc87f4ebd0077103"
    ),
    ("datatrove", "codes_00000.ds"): (
        "aca3eb8a7a8c023b4da2f08ff28450936911596596a040364defb098023ac573"
    ),
    ("datatrove", "codes_00000.ds.index"): (
        "b102ef3afab47dd927ad7e66597207fd198a2d81ab9647172e0fee08ae617815"
    ),
    ("mds", "shard.00000.mds"): (
        "f7c66293ca75045a45f2df725c9cbacf34772cdb277167cf6902bcf8f3722ef4"
    ),
    ("mds", "index.json"): "277475e2f8c615fca918a9dc5aca91729b829d3b267f00304eaa1c4af92c7524",
    ("fish", "00000000.protos"): (
        "89001dee172bf8e82aec1f033cb2941dc3e667493de203d7e4b5ef0d32821eac"
    ),
}
OPTIONS = {"shar --layout KT": {"layout": "KT"}, "fish": {"dataset_name": "emilia"}}


@pytest.mark.parametrize(("case", "path"), GOLDENS)
def test_bytes_are_those_of_the_trainers_own_writer(case: str, path: str) -> None:
    made = make_format(case.split()[0], **OPTIONS.get(case, {}))
    content = written(made, toy_samples())[path]
    plain = gzip.decompress(content) if path.endswith(".gz") else content
    assert hash_of(plain) == GOLDENS[case, path]


def test_moss_ttsd_pickles_are_those_of_the_trainers_own_script() -> None:
    class WithBytesAsIds(MossTtsd):
        def check(self) -> None:
            """The golden's tokenizer has no special tokens."""

    target = replace(make_format("jsonl").target, tokenizer_json=byte_tokenizer())
    files = written(WithBytesAsIds(target), toy_samples())
    assert {path: hash_of(content) for path, content in files.items()} == {
        "codes-00000.pkl": "f99cbaabc966bcb4d9b7fcc705f896009b3fa8aa1abdd512ab4ec4940d6da416",
        "codes-00000_metas.npy": "2a5b753fd1452a625882c5755e9f32cec30bea31310cfa036267880078a50d4d",
    }


END_OF_SPEECH = [(152694, "<|end_of_speech|>")]


def test_moss_ttsd_rows_are_prompt_frames_and_end() -> None:
    made = make_format("moss-ttsd", tokenizer_json=byte_tokenizer(END_OF_SPEECH))
    assert isinstance(made, MossTtsd)
    inputs, labels = made.matrices(toy_samples()[0])
    assert inputs[-4:, 0].tolist() == [151665, 151672, 151679, 152694]
    assert inputs[-4].tolist() == [151665, 100, 200, 300, 400, 500, 600, 700]
    assert inputs[-1, 1:].tolist() == [1024] * 7
    assert (labels[:-4] == -100).all()
    assert labels[-1].tolist() == [152694, *[-100] * 7]


def test_moss_ttsd_puts_a_reference_before_its_clip() -> None:
    made = make_format("moss-ttsd", tokenizer_json=byte_tokenizer(END_OF_SPEECH))
    first, second = toy_samples()
    paired = replace(second, reference=Reference(first.codes, first.text))
    content = written(made, [paired])
    record = pickle.loads(content["codes-00000.pkl"])
    frames = np.array(record["input_ids"])[-9:-1]
    assert np.array_equal(frames[:, 1:], np.concatenate([first.codes, second.codes], 1).T[:, 1:])
    text = bytes(row[0] for row in record["input_ids"][:-9] if row[0] < 256).decode()
    assert "<speaker1>Hello there.Good 日本.<|end_of_text|>" in text
    metas = np.load(io.BytesIO(content["codes-00000_metas.npy"]))
    assert metas.T.tolist() == [[0, len(record["input_ids"]), 8]]


def test_moss_ttsd_refuses_another_tokenizer() -> None:
    with pytest.raises(UsageError, match=r"expected \[152694\]"):
        make_format("moss-ttsd", tokenizer_json=byte_tokenizer())
    with pytest.raises(UsageError, match="`--tokenizer` is missing"):
        make_format("moss-ttsd")


def test_flat_ids_are_frame_by_frame_with_a_range_for_each_codebook() -> None:
    made = make_format("flat", template="orpheus", tokenizer_json=byte_tokenizer())
    table = pq.read_table(io.BytesIO(written(made, toy_samples())["ids-00000.parquet"]))
    row = table.to_pylist()[0]
    words = list(b"EN_B00000_S00000: Hello there.")
    start = [128259, *words, 128009, 128260, 128261, 128257]
    assert row["input_ids"][: len(start) + 3] == [*start, 128266, 129390, 130514]
    assert row["input_ids"][-2:] == [128258, 128262]
    assert row["labels"] == row["input_ids"]
    assert row["attention_mask"] == [1] * len(row["input_ids"])
    codes = row["input_ids"][len(start) : -2]
    assert codes[:8] == [128266 + 1124 * k for k in range(8)]
    assert codes[8:10] == [128266 + 7, 128266 + 1131]


def test_vyvo_learns_the_answer_alone() -> None:
    made = make_format("flat", template="vyvo", tokenizer_json=byte_tokenizer())
    table = pq.read_table(io.BytesIO(written(made, toy_samples())["ids-00000.parquet"]))
    row = table.to_pylist()[0]
    words = list(b"EN_B00000_S00000: Hello there.")
    prompt = [151672, *words, 151645, 151673]
    assert row["input_ids"][: len(prompt) + 3] == [*prompt, 151674, 151670, 151679]
    assert row["labels"][: len(prompt)] == [-100] * len(prompt)
    assert row["labels"][len(prompt) :] == row["input_ids"][len(prompt) :]


def test_llasa_rows_are_padded_to_its_window_and_what_is_cut_is_counted() -> None:
    tokenizer = byte_tokenizer([(256, "<|eot_id|>")])
    made = make_format("flat", template="llasa", tokenizer_json=tokenizer)
    short = toy_samples()[0]
    long = replace(short, codes=np.zeros((8, 300), np.int16))
    files = written(made, [short, long])
    shape = np.load(io.BytesIO(files["train_input_ids_shape.npy"])).tolist()
    rows = np.frombuffer(files["train_input_ids.memmap"], "<i4").reshape(shape)
    assert shape == [2, 2048]
    base = 257 + 8  # behind the eight tokens that its trainer adds
    start = rows[0].tolist().index(base)
    assert rows[0, start : start + 3].tolist() == [base, base + 1124, base + 2248]
    assert rows[0, start + 24 + 1 :].tolist() == [256] * (2048 - start - 25)
    assert rows[1, -1] != 256


def test_ids_of_a_large_vocabulary_are_int32() -> None:
    made = make_format("megatron", base=100_000)
    content = written(made, toy_samples())
    ids = np.frombuffer(content["codes_00000_text_document.bin"], "<i4")
    assert ids[:3].tolist() == [100_000, 101_124, 102_248]
    assert content["codes_00000_text_document.idx"][17] == 4


def test_codebooks_of_different_sizes_have_ranges_of_their_own() -> None:
    made = make_format("flat", FAKES["fake-odd"])
    assert isinstance(made, SequenceFormat)
    assert made.offsets == (0, 7, 307)
    assert made.template.vocabulary == 7 + 300 + 65536


@pytest.mark.parametrize("name", ["omnivoice", "moss-ttsd"])
def test_codes_that_do_not_fit_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match=r"cannot hold the codes of `toy-ttsd`.*expected"):
        make_format(name, FAKES["fake-odd"])


@pytest.mark.parametrize("name", sorted(set(FORMATS) - {"omnivoice", "moss-ttsd", "parts"}))
def test_any_codec_fits_where_the_format_has_no_limit(name: str) -> None:
    shape = FAKES["fake-odd"]
    codes = np.array([[6, 0], [299, 1], [65535, 2]], np.int32)
    sample = replace(toy_samples()[0], codes=codes)
    files = written(make_format(name, shape), [sample])
    assert all(files.values())


def test_shar_for_nemo_has_its_folders_speakers_and_empty_contexts() -> None:
    made = make_format("shar", nemo=True, dataset_name="emilia", with_reference=True)
    first, second = toy_samples()
    files = written(made, [replace(first, reference=Reference(second.codes, None)), second])
    cuts = [
        json.loads(line)
        for line in gzip.decompress(files["cuts/cuts.000000.jsonl.gz"]).splitlines()
    ]
    speaker = f"| Language:en Dataset:emilia Speaker:{first.speaker} |"
    assert [cut["supervisions"][0]["speaker"] for cut in cuts] == [speaker] * 2
    assert [sorted(cut["custom"]) for cut in cuts] == [
        ["context_codes", "target_codes"],
        ["target_codes"],
    ]
    contexts = files["toy-ttsd/context_codes/codes.000000.tar"]
    with tarfile.open(fileobj=io.BytesIO(contexts)) as tar:
        assert [name.rpartition(".")[2] for name in tar.getnames()] == [
            "npy", "json", "nodata", "nometa",
        ]  # fmt: skip


def test_fish_keeps_the_clips_of_a_speaker_together() -> None:
    first, second = toy_samples()
    other = replace(first, speaker="B")
    content = written(make_format("fish"), [first, other, second])["00000000.protos"]
    speakers = [first.speaker, "B"]
    places = [content.index(f"{s}".encode()) for s in speakers if s]
    assert places == sorted(places)
    assert content.count(SPEAKER.encode()) == 1


def test_codes_of_parquet_are_arrays_of_hugging_face() -> None:
    made = make_format("parquet", with_reference=True)
    first, second = toy_samples()
    paired = replace(first, reference=Reference(second.codes, second.text))
    content = written(made, [paired, second])["codes-00000.parquet"]
    table = pq.read_table(io.BytesIO(content))
    features = json.loads(table.schema.metadata[b"huggingface"])["info"]["features"]
    assert features["codes"] == {"shape": [None, 8], "dtype": "int16", "_type": "Array2D"}
    rows = table.to_pylist()
    assert rows[0]["codes"] == first.codes.T.tolist()
    assert rows[0]["ref_codes"] == second.codes.T.tolist()
    assert rows[1]["ref_codes"] is None


@pytest.mark.parametrize(
    ("codec", "source", "is_meant"),
    [
        ("xy-tokenizer-ttsd-24k", "", True),
        ("xy-tokenizer-16k", "/models/ttsd/xy.ckpt", False),
        ("xy-0a1b2c3d", "OpenMOSS-Team/MOSS_TTSD_tokenizer", True),
        ("xy-nano", "xy-nano", False),
    ],
)
def test_moss_ttsd_means_the_codes_of_one_checkpoint(
    codec: str, source: str, is_meant: bool
) -> None:
    made = make_format("moss-ttsd", tokenizer_json=byte_tokenizer(END_OF_SPEECH))
    made.target = replace(made.target, identity={"codec": {"name": codec}}, codec_source=source)
    fault = made.other_codec()
    assert fault is None if is_meant else f"made by `{codec}`" in str(fault)


@pytest.mark.parametrize("name", ["omnivoice", "jsonl", "webdataset"])
def test_a_further_column_never_replaces_what_the_format_writes(name: str) -> None:
    first = replace(toy_samples()[0], columns={"text": " not stripped", "dnsmos": 3.0})
    content = b"".join(written(make_format(name), [first]).values())
    assert b"not stripped" not in content
    assert b'"dnsmos": 3.0' in content


def test_languages_are_written_by_name_or_code() -> None:
    names = [language_name(word) for word in ("en", "zh", "pt-BR", "German", "yue")]
    assert names == ["English", "Chinese", "Portuguese", "German", "Cantonese"]
    with pytest.raises(InputError, match="pass `--language code`"):
        language_name("xx")
    content = written(make_format("jsonl", language="code"), toy_samples())["codes-00000.jsonl"]
    assert b'"language": "en"' in content
