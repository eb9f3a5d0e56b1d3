"""Folders of audio and manifests: every file and line is a clip or a reject, and leads back."""

import csv
import gzip
import io
import json
import os
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from pipeline.corpus.audio_list import Span, changed_files, read_list
from pipeline.corpus.audio_span import SpanFault, cut_span
from pipeline.corpus.clip_source import audio_reader, open_clips
from pipeline.corpus.listing import list_shards, look_up
from pipeline.corpus.reject_reasons import Reason
from pipeline.corpus.rules import ReadRules
from pipeline.corpus.shard import Shard
from pipeline.errors import InputError, UsageError
from pipeline.storage.client import Storage
from tests.support.inline_run import Result, run_shards
from tests.support.shard_maker import audio, emilia_json, pairs, speech, write_shard


def listed(*inputs: object, clips: int = 1000) -> list[Shard]:
    return list_shards([str(each) for each in inputs], Storage(), clips_per_list=clips)


def rows_of(results: dict[str, Result]) -> list[dict[str, Any]]:
    """Of all shards in their order; which one ends first is chance."""
    return [row for path in sorted(results) for row in results[path].rows]


def run(shards: list[Shard], output: Path, **rules: Any) -> Result:
    (result,) = run_shards(shards, output, ReadRules(**rules)).values()
    return result


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(5):
        place = tmp_path / "in" / f"s{number % 2}"
        place.mkdir(parents=True, exist_ok=True)
        kind = ("wav", "mp3", "flac")[number % 3]
        (place / f"take.{number}.{kind}").write_bytes(audio(0.5, kind=kind, seed=number))
        if number % 2:
            (place / f"take.{number}.txt").write_text(f"text {number}")
        else:
            (place / f"take.{number}.json").write_bytes(emilia_json("x", dnsmos=number))
    return tmp_path / "in"


def test_a_folder_becomes_lists_of_files_with_their_texts(folder: Path, tmp_path: Path) -> None:
    (folder / "lonely.json").write_text("{}")
    (folder / "s0/take.0.ogg").write_bytes(audio(kind="ogg"))
    (folder / "cover.png").write_bytes(b"png")
    shards = listed(folder, clips=4)
    assert [shard.path.rpartition("/")[2] for shard in shards] == ["00000.list", "00001.list"]
    results = run_shards(shards, tmp_path / "out", ReadRules(clips_per_list=4))
    rows = {row["key"]: row for row in rows_of(results)}
    assert list(rows) == [f"s{n % 2}/take.{n}" for n in (0, 2, 4, 1, 3)]
    assert (rows["s1/take.3"]["text"], rows["s0/take.4"]["dnsmos"]) == ("text 3", 4.0)
    rejects = [row for result in results.values() for row in result.rejects]
    assert [(row["key"], row["reason"]) for row in rejects] == [
        ("lonely", "missing_audio"),
        ("s0/take.0", "duplicate_key"),
    ]


def test_a_text_without_audio_is_a_reject_that_says_so(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (folder / "README.txt").write_text("About this corpus.")
    (folder / "s0/gone.txt").write_text("text")
    (folder / "s0/gone.json").write_text("{}")
    rejects = [clip for clip in read_list(listed(folder)[0].listed) if clip.reason]
    assert [(clip.key, clip.reason, clip.detail) for clip in rejects] == [
        (
            "README",
            Reason.MISSING_AUDIO,
            "`README.txt`: a text without an audio file of the same name",
        ),
        (
            "s0/gone",
            Reason.MISSING_AUDIO,
            "`s0/gone.json` and `s0/gone.txt`: JSON and a text without an audio file of the same "
            "name",
        ),
    ]
    assert "2 texts or JSONs have no audio of the same name: a reject" in caplog.text


def test_the_number_of_a_line_leads_back_to_its_file(folder: Path, tmp_path: Path) -> None:
    (shard,) = listed(folder)
    for row in run([shard], tmp_path / "out").rows:
        read = audio_reader(shard.path, shard.url, Storage(), ReadRules(), lambda: shard.listed)
        (original,) = folder.glob(f"{row['key']}.[mwf]*")
        assert read(row["tar_offset"], row["tar_size"]) == original.read_bytes()


def test_names_that_are_no_utf8_are_read_and_shown_with_escapes(
    folder: Path, tmp_path: Path
) -> None:
    name = os.fsencode(folder / "s0") + b"/bad\xff.wav"
    Path(os.fsdecode(name)).write_bytes(audio(0.5, kind="wav"))
    (shard,) = listed(folder)
    assert r"s0/bad\udcff" in run([shard], tmp_path / "out").keys


def test_a_glob_and_a_list_of_names_take_the_texts_beside_them(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = sorted(folder.glob("s1/*.[mwf]*"))
    (folder / "names.lst").write_text("\n".join(map(str, names)))
    monkeypatch.chdir(folder)
    relative = [str(name.relative_to(folder)) for name in names]
    for inputs in ([f"{folder}/s1/*.[mwf]*"], [f"@{folder}/names.lst"], relative):
        (shard,) = listed(*inputs)
        clips = read_list(shard.listed)
        assert [(clip.key, clip.text is not None) for clip in clips] == [
            ("take.1", True),
            ("take.3", True),
        ]
        list(open_clips(shard, Storage(), ReadRules()))


def test_equal_folders_give_equal_lists_and_a_changed_file_another(folder: Path) -> None:
    before = listed(folder)
    assert listed(folder) == before
    (folder / "s1/take.1.txt").write_text("another text")
    assert [shard.etag for shard in listed(folder)] != [shard.etag for shard in before]


def test_tars_come_before_files_and_outputs_are_no_inputs(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("tokens/a.parquet", "lease/1.json", "run.json"):
        (folder / "out" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "out" / name).write_text("{}")
    (shard,) = listed(folder)
    assert {clip.audio is None for clip in read_list(shard.listed)} == {False}
    write_shard(folder / "a.tar", pairs(1))
    assert [each.path.rpartition("/")[2] for each in listed(folder)] == ["a.tar"]
    assert "4 more files" in caplog.text


def test_a_file_that_was_replaced_after_listing_ends_its_shard(folder: Path) -> None:
    shards = listed(folder)
    (folder / "s0/take.0.wav").write_bytes(audio(0.6, kind="wav"))
    with pytest.raises(InputError, match="was replaced since it was listed"):
        list(open_clips(shards[0], Storage(), ReadRules()))


@pytest.fixture
def links(folder: Path, tmp_path: Path) -> Path:
    """A folder of links, made well after the files behind them."""
    place = tmp_path / "links"
    place.mkdir()
    for file in folder.rglob("take.*"):
        os.utime(file, (1e9, 1e9))
        (place / file.name).symlink_to(file)
    return place


def test_links_are_read_as_the_files_behind_them(links: Path, tmp_path: Path) -> None:
    lines = "".join(f"{json.dumps({'path': each.name})}\n" for each in links.glob("*.[mwf]*"))
    (tmp_path / "links/a.jsonl").write_text(lines)
    keys = [f"take.{number}" for number in range(5)]
    for number, source in enumerate((links, links / "*.[mwf]*", links / "a.jsonl")):
        (shard,) = listed(source)
        result = run([shard], tmp_path / f"out{number}")
        assert (sorted(result.keys), result.rejects) == (keys, [])
    (shard,) = listed(links)
    file = (links / "take.1.mp3").resolve()
    os.utime(file, (2e9, 2e9))
    assert listed(links)[0].etag != shard.etag
    assert changed_files(read_list(shard.listed), shard.url, partial(look_up, storage=Storage()))


def test_links_to_folders_are_followed_each_folder_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("corpus/a", "corpus/v3", "elsewhere/deep", "further"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "take.wav").write_bytes(audio(0.5, kind="wav"))
    links = {
        "corpus/linked": "elsewhere",  # its files are asked for
        "corpus/latest": "corpus/v3",  # would give them twice
        "elsewhere/deep/back": "corpus",  # a circle
        "elsewhere/deep/more": "further",
    }
    for name, target in links.items():
        (tmp_path / name).symlink_to(tmp_path / target)
    keys = ["a/take", "linked/deep/more/take", "linked/deep/take", "v3/take"]
    for source in ("corpus", "corpus/**/*.wav"):
        (shard,) = listed(tmp_path / source)
        assert [clip.key for clip in read_list(shard.listed)] == keys
        assert f"corpus/latest` and 1 more link below `{tmp_path}/corpus` are not" in caplog.text
        caplog.clear()
    (shard,) = listed(tmp_path / "corpus/*/*/*.wav")
    assert [clip.key for clip in read_list(shard.listed)] == ["linked/deep/take"]


def test_a_broken_link_is_one_reject(links: Path, tmp_path: Path) -> None:
    for name in ("take.0.json", "take.3.wav"):
        (links / name).resolve().unlink()
    (links / "loop.wav").symlink_to("loop.wav")
    (links / "take.1.wav").symlink_to("gone.wav")
    result = run(listed(links), tmp_path / "out")
    assert sorted(result.keys) == ["take.1", "take.2", "take.4"]
    assert [(row["key"], row["reason"]) for row in result.rejects] == [
        ("loop", "missing_audio"),
        ("take.0", "bad_json"),
        ("take.1", "duplicate_key"),
        ("take.3", "missing_audio"),
    ]
    assert "a link to a file that is not there" in result.rejects[0]["detail"]


def test_a_manifest_takes_a_broken_link_for_a_missing_file(links: Path, tmp_path: Path) -> None:
    (links / "b.wav").symlink_to("gone.wav")
    # With so many names the folder is listed, with one each name is looked up.
    for number, names in enumerate(([f"{n}.wav" for n in range(9)], [])):
        lines = [{"path": name} for name in ("take.0.wav", "b.wav", *names)]
        (links / f"{number}.jsonl").write_text("\n".join(map(json.dumps, lines)))
        result = run(listed(links / f"{number}.jsonl"), tmp_path / f"out{number}")
        assert (result.keys, result.reasons["b"]) == (["take.0"], "missing_audio")


def test_lines_of_json_as_nemo_writes_them(folder: Path, tmp_path: Path) -> None:
    path = "s0/take.0.wav"
    lines: list[dict[str, Any]] = [
        {"audio_filepath": path, "duration": 0.5, "text": "whole", "lang": "en"},
        {"audio_filepath": path, "offset": 0.0, "duration": 0.2, "text": "first"},
        {"audio_filepath": path, "offset": 0.2, "duration": 0.3, "text": "rest"},
        {"audio_filepath": str(folder / "s1/take.1.mp3"), "duration": 0.5, "text": "absolute"},
        {"audio_filepath": "gone.wav", "duration": 0.5, "text": "gone"},
        {"audio_filepath": path, "offset": 0.3, "duration": 9.0, "text": "beyond"},
    ]
    (folder / "train.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    shards = listed(folder / "train.jsonl")
    assert shards[0].path.endswith("/in/train-00000.list")
    result = run(shards, tmp_path / "out")
    assert [(row["text"], row["duration"]) for row in result.rows] == [
        ("whole", 0.5),
        ("first", 0.2),
        ("rest", 0.3),
        ("absolute", 0.5),
    ]
    assert result.rows[1]["key"] == "s0/take.0-00000000-00000200"
    assert json.loads(result.rows[0]["extra"]) == {"lang": "en"}
    assert result.reasons == {"gone": "missing_audio", "s0/take.0-00000300-00009300": "cut_off"}


@pytest.mark.parametrize(("suffix", "delimiter"), [("csv", ","), ("tsv", "\t")])
def test_tables_are_typed_by_their_values(
    folder: Path, tmp_path: Path, suffix: str, delimiter: str
) -> None:
    text = io.StringIO()
    writer = csv.writer(text, delimiter=delimiter)
    writer.writerow(["id", "path", "start", "end", "text", "speaker", "dnsmos", "snr"])
    writer.writerow(["u1", "s0/take.0.wav", "0.1", "0.3", "007", "12", "3.5", "20"])
    writer.writerow(["u2", "s1/take.1.mp3", "", "", "said", "", "2", ""])
    (folder / f"t.{suffix}").write_text(text.getvalue())
    shards = listed(folder / f"t.{suffix}")
    result = run(shards, tmp_path / "out", where="dnsmos >= 3 and snr == 20")
    assert (result.keys, result.manifest.filtered) == (["u1"], 1)
    (row,) = result.rows
    assert (row["text"], row["speaker"], row["dnsmos"], row["duration"]) == ("007", "12", 3.5, 0.2)


def test_kaldi_folders_need_no_conversion(folder: Path, tmp_path: Path) -> None:
    tables = {
        "wav.scp": "r1 s0/take.0.wav\nr2 sox a.wav -t wav - |\nr3 s1/take.1.mp3\n",
        "segments": "r1-a r1 0.0 0.2\nr1-b r1 0.2 -1\nr2-a r2 0 1\nr4-a r4 0 1\n",
        "text": "r1-a first words\nr1-b the rest\n",
        "utt2spk": "r1-a s1\nr1-b s1\n",
    }
    for name, content in tables.items():
        (folder / name).write_text(content)
    result = run(listed(folder), tmp_path / "out")
    assert [(row["key"], row["text"], row["speaker"], row["duration"]) for row in result.rows] == [
        ("r1-a", "first words", "s1", 0.2),
        ("r1-b", "the rest", "s1", 0.3),
    ]
    details = {row["key"]: row["detail"] for row in result.rejects}
    assert "no command is run" in details["r2-a"]
    assert "no recording `r4`" in details["r4-a"]


@pytest.mark.parametrize(
    ("segment", "message"),
    [
        ("utt1 rec1 1", "line 2: `utt1 rec1 1` has 3 fields; expected a key"),
        ("utt1", "line 2: `utt1` has 1 fields"),
        ("utt1 rec1 0 0,5", 'line 2: `end` is "0,5"; expected a number of seconds'),
        ("utt1 rec1 1.5 1.0", "line 2: its end, 1.0 s, is not after its start, 1.5 s"),
        ("utt1 rec1 -2 -1", "line 2: its start is -2.0 s"),
    ],
)
def test_faults_of_kaldi_segments_name_their_line(
    tmp_path: Path, segment: str, message: str
) -> None:
    (tmp_path / "wav.scp").write_text("rec1 a.wav\n")
    (tmp_path / "segments").write_text(f"utt0 rec1 0 1\n{segment}\n")
    with pytest.raises(UsageError) as caught:
        listed(tmp_path)
    assert f"{tmp_path}/segments" in str(caught.value)
    assert message in str(caught.value)


def test_tables_of_kaldi_may_have_tabs(folder: Path) -> None:
    (folder / "wav.scp").write_text("r1\ts0/take.0.wav\n")
    (folder / "segments").write_text("u1\tr1\t0.1\t0.3\n")
    (folder / "text").write_text("u1\ttwo  words\n")
    ((clip,),) = (read_list(shard.listed) for shard in listed(folder))
    assert (clip.key, clip.span, clip.fields) == ("u1", Span(0.1, 0.3), {"text": "two  words"})


def test_no_line_of_kaldi_is_lost_to_a_second_key_or_cut_by_a_letter_of_its_text(
    folder: Path,
) -> None:
    (folder / "wav.scp").write_text("r s0/take.0.wav\nr s1/take.1.mp3\n")
    (folder / "text").write_text("r one\u2028two\x85three\n", "utf-8")
    ((first, second),) = (read_list(shard.listed) for shard in listed(folder))
    assert (first.key, second.key) == ("r", "r-000000001")
    assert [clip.audio and clip.audio.path for clip in (first, second)] == [
        "s0/take.0.wav",
        "s1/take.1.mp3",
    ]
    assert first.fields == {"text": "one\u2028two\x85three"}


def test_cuts_of_lhotse_keep_their_spans_channels_and_supervisions(
    folder: Path, tmp_path: Path
) -> None:
    from lhotse import CutSet, MonoCut, Recording, SupervisionSegment

    both = np.concatenate([speech(0.5, seed=1), 0.5 * speech(0.5, seed=2)], axis=1)
    soundfile.write(folder / "two.wav", both, 24000)
    recording = Recording.from_file(folder / "two.wav", recording_id="r")
    said = SupervisionSegment("s", "r", 0.0, 0.2, channel=1, text="hello", speaker="A")
    cuts = [
        MonoCut("c1", 0.1, 0.2, 1, supervisions=[said], recording=recording, custom={"snr": 9}),
        MonoCut("c2", 0.0, 0.5, 0, recording=recording),
    ]
    CutSet.from_cuts(cuts).to_file(folder / "cuts.jsonl.gz")
    shards = listed(folder / "cuts.jsonl.gz")
    result = run(shards, tmp_path / "out")
    first, second = result.rows
    assert (first["key"], first["text"], first["speaker"]) == ("c1", "hello", "A")
    assert (first["duration"], json.loads(first["extra"]), second["duration"]) == (
        0.2,
        {"snr": 9},
        0.5,
    )
    read = audio_reader(
        shards[0].path, shards[0].url, Storage(), ReadRules(), lambda: shards[0].listed
    )
    for cut, row in zip(cuts, result.rows, strict=True):
        heard, rate = soundfile.read(io.BytesIO(read(row["tar_offset"], row["tar_size"])))
        assert rate == 24000
        np.testing.assert_array_equal(heard.astype(np.float32), cut.load_audio()[0])


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", b'{"path": "a.wav"}\n\n{"path": }\n', "line 3 is no JSON: .* at column 10"),
        ("a.jsonl", b"[1]\n", "line 1 is a JSON list"),
        ("a.jsonl", b'{"text": "x"}\n', "line 1: it has no path .* audio_filepath.* are `text`"),
        ("a.jsonl", b'{"path": 5}\n', "line 1: it has no path .* are `path`"),
        ("a.jsonl", b'{"id": "c", "type": "MonoCut", "recording": 1}\n', "line 1: .*`recording`"),
        ("a.csv", b"Way,text\na.wav,x\n", "line 2: it has no path .* are `Way`, `text`"),
        ("a.csv", b'path,text\na.wav,"x"y\n', "after line 1: .* expected after"),
        ("a.csv", b"path,text\na.wav\n", "line 2 has another number of columns .* `path`, `text`"),
        ("a.csv", b"path,text\ngone.wav,x\n", "names no audio that is there"),
        ("a.jsonl.gz", gzip.compress(b""), "it has no lines"),
    ],
)
def test_manifests_that_cannot_be_meant_are_refused(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises((InputError, UsageError), match=message):
        listed(tmp_path / name)


def test_a_line_with_an_empty_path_is_one_reject(folder: Path) -> None:
    lines = [{"id": "u1", "path": ""}, {"id": "u2", "path": None}]
    good = {"id": "u3", "path": "s0/take.0.wav", "file": None}
    (folder / "a.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in (*lines, good)))
    (folder / "a.csv").write_text("id,path,text\nu1,,x\nu2,,\nu3,s0/take.0.wav,y\n")
    for name in ("a.jsonl", "a.csv"):
        ((first, second, third),) = (read_list(shard.listed) for shard in listed(folder / name))
        assert {(each.reason, each.detail) for each in (first, second)} == {
            (Reason.MISSING_AUDIO, "its `path` is empty")
        }
        assert (first.key, second.key, third.key) == ("u1", "u2", "u3")
        assert third.audio is not None
        assert "file" not in third.fields


def test_equal_spans_give_equal_bytes_and_a_limit_holds() -> None:
    payload = audio(2.0, kind="flac", channels=2)
    cut = cut_span(payload, Span(0.5, 1.5), 1 << 20)
    assert cut == cut_span(payload, Span(0.5, 1.5), 1 << 20)
    assert isinstance(cut, bytes)
    whole, _ = soundfile.read(io.BytesIO(payload), dtype="float32")
    part, _ = soundfile.read(io.BytesIO(cut), dtype="float32")
    np.testing.assert_array_equal(part, whole[12000:36000])
    assert isinstance(cut_span(payload, Span(0.5, 1.5), 1000), SpanFault)
    assert isinstance(cut_span(b"no audio", Span(0.5, 1.5), 1000), SpanFault)


@pytest.mark.parametrize("field", ["start", "end", "offset", "duration"])
@pytest.mark.parametrize("value", ["0,5", "abc", "1.5s", "00:00:01.5", "true", "nan"])
@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl"])
def test_times_that_are_no_numbers_are_refused_by_line(
    tmp_path: Path, field: str, value: str, kind: str
) -> None:
    table = f"path\t{field}\na.wav\t{value}\n"
    lines = [{"path": "a.wav", field: 1}, {"path": "a.wav", field: value}]
    contents = {
        "csv": table.replace(value, f'"{value}"').replace("\t", ","),
        "tsv": table,
        "jsonl": "\n" + "\n".join(map(json.dumps, lines)),
    }
    (tmp_path / f"a.{kind}").write_text(contents[kind])
    with pytest.raises(UsageError) as caught:
        listed(tmp_path / f"a.{kind}")
    message = f'line {2 + (kind == "jsonl")}: `{field}` is "{value}"; expected a number of seconds'
    assert f"{tmp_path}/a.{kind}" in str(caught.value)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("times", "message"),
    [
        ('"start": true', "`start` is true; expected a number"),
        ('"end": [1]', "`end` is [1]; expected a number"),
        ('"offset": ""', '`offset` is ""; expected a number'),
        ('"end": 1e999', "`end` is Infinity; expected a number"),
        ('"start": NaN', "`start` is NaN; expected a number"),
        ('"start": 1, "end": 1', "its end, 1 s, is not after its start, 1 s"),
        ('"end": 0', "its end, 0 s, is not after its start, 0.0 s"),
        ('"offset": 2.5, "duration": -1', "its end, 1.5 s, is not after its start, 2.5 s"),
        ('"start": -0.5, "end": 1', "its start is -0.5 s; expected 0 or more"),
        ('"id": "c", "type": "MonoCut", "start": "x", "duration": 1', '`start` is "x"; expected'),
        ('"id": "c", "type": "MonoCut", "start": 1, "duration": -1', "its end, 0 s, is not after"),
    ],
)
def test_times_that_no_clip_can_have_are_refused(tmp_path: Path, times: str, message: str) -> None:
    recording = '"recording": {"duration": 9, "sources": [{"type": "file", "source": "a.wav"}]}'
    (tmp_path / "a.jsonl").write_text(f'{{"path": "a.wav", "channel": 0, {recording}, {times}}}\n')
    with pytest.raises(UsageError) as caught:
        listed(tmp_path / "a.jsonl")
    assert f"line 1: {message}" in str(caught.value)


@pytest.mark.parametrize("at", ["s0", "."])
def test_a_pattern_and_single_names_take_the_metadata_of_their_folder(
    folder: Path, at: str
) -> None:
    for file in folder.rglob("*.json"):
        file.unlink()
    rows = ["file_name,snr", *(f"{'s0/' if at == '.' else ''}take.{n}.wav,{n}" for n in (0, 6))]
    (folder / at / "metadata.csv").write_text("\n".join(rows))
    inputs = [[folder / "s*/*.[wf]*"]]
    if at == "s0":
        inputs += [[folder / "s0/take.0.wav"], [folder / "s0/*.wav"]]
    for names in inputs:
        clips = read_list(listed(*names)[0].listed)
        assert not [clip.detail for clip in clips if clip.reason]
        assert {"snr": 0} in [clip.fields for clip in clips]


@pytest.mark.parametrize(("column", "other"), [("dnsmos", "high"), ("snr", "2.5"), ("snr", "4")])
def test_decimal_commas_in_columns_of_numbers_are_refused_by_line(
    folder: Path, column: str, other: str
) -> None:
    lines = [f"path\ttext\t{column}", f"s0/take.0.wav\t1,5\t{other}", "s1/take.3.wav\tx\t-3,1"]
    (folder / "a.tsv").write_text("\n".join(lines))
    with pytest.raises(UsageError) as caught:
        listed(folder / "a.tsv")
    assert f'line 3: `{column}` is "-3,1"; expected a number, as -3.1' in str(caught.value)
    assert "line 2" not in str(caught.value)


def test_texts_with_commas_stay_texts_where_no_line_has_a_number(folder: Path) -> None:
    (folder / "a.csv").write_text('path,tags\ns0/take.0.wav,"1,2"\ns1/take.3.wav,"3,4"\n')
    (shard,) = listed(folder / "a.csv")
    assert [clip.fields["tags"] for clip in read_list(shard.listed)] == ["1,2", "3,4"]


def test_metadata_of_a_folder_of_audio_as_datasets_reads_it(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for file in folder.rglob("*.json"):
        file.unlink()
    (folder / "s0/metadata.csv").write_text(
        "file_name,text,speaker,snr\ntake.0.wav,zero,7,20\ntake.2.flac,two,8,\n"
    )
    lines = [{"file_name": f"take.{n}.{kind}", "mood": n} for n, kind in ((1, "mp3"), (3, "wav"))]
    (folder / "s1/metadata.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    (shard,) = listed(folder)
    result = run([shard], tmp_path / "out")
    found = {row["key"]: (row["text"], row["speaker"], row["extra"]) for row in result.rows}
    assert found == {
        "s0/take.0": ("zero", "7", '{"snr":20}'),
        "s0/take.2": ("two", "8", None),
        "s0/take.4": (None, None, None),
        "s1/take.1": ("text 1", None, '{"mood":1}'),
        "s1/take.3": ("text 3", None, '{"mood":3}'),
    }
    assert "1 file of audio is not in the metadata" in caplog.text
    (folder / "s0/take.2.flac").unlink()
    result = run(listed(folder), tmp_path / "other")
    assert result.reasons == {"s0/take.2": "missing_audio"}
    # A table of another kind of corpus.
    (folder / "s0/metadata.csv").write_text("take.0|zero|zero\n")
    assert [clip.fields for clip in read_list(listed(folder / "s0")[0].listed)] == [{}, {}]
    assert "has no column `file_name`" in caplog.text


def test_a_manifest_of_nemo_may_be_named_json(folder: Path) -> None:
    (folder / "train.json").write_text('{"audio_filepath": "s0/take.0.wav", "text": "x"}\n')
    for source in (folder / "train.json", folder / "t*.json"):
        ((clip,),) = (read_list(shard.listed) for shard in listed(source))
        assert (clip.key, clip.fields) == ("s0/take.0", {"text": "x"})
    (folder / "train.json").write_text('[\n{"audio_filepath": "s0/take.0.wav"}]\n')
    with pytest.raises(UsageError, match="line 1 is no JSON"):
        listed(folder / "train.json")


def test_names_of_fields_are_found_in_any_case(folder: Path, tmp_path: Path) -> None:
    table = "ID,Path,Text,Speaker,DNSMOS,Snr\n007,s0/take.0.wav,said,12,3.5,20\n008,,x,1,2,3\n"
    (folder / "a.csv").write_text(table)
    lines = [
        {"Audio_FilePath": "s0/take.0.wav", "Utt_ID": "u1", "TEXT": "said"},
        {"path": "s0/take.0.wav", "Path": "other", "text": "said", "Text": "more"},
    ]
    (folder / "b.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    (shard,) = listed(folder / "a.csv")
    result = run([shard], tmp_path / "out")
    ((row,), (reject,)) = (result.rows, result.rejects)
    found = (row["key"], row["text"], row["speaker"], row["dnsmos"], row["extra"])
    assert found == ("007", "said", "12", 3.5, '{"Snr":20}')
    assert (reject["key"], reject["detail"]) == ("008", "its `Path` is empty")
    ((first, second),) = (read_list(shard.listed) for shard in listed(folder / "b.jsonl"))
    assert (first.key, first.fields) == ("u1", {"text": "said"})
    assert second.fields == {"Path": "other", "text": "said", "Text": "more"}


def test_a_path_of_a_folder_is_one_reject(folder: Path, tmp_path: Path) -> None:
    (folder / "linked").symlink_to(folder / "s1")
    # With so many names the folder is listed, with one each name is looked up.
    for number, names in enumerate(([f"{n}.wav" for n in range(9)], [])):
        lines = [{"path": name} for name in ("s0/take.0.wav", "s0", "linked", *names)]
        (folder / f"{number}.jsonl").write_text("\n".join(map(json.dumps, lines)))
        result = run(listed(folder / f"{number}.jsonl"), tmp_path / f"out{number}")
        assert result.keys == ["s0/take.0"]
        assert [each["detail"] for each in result.rejects[:2]] == [
            "there is no file `s0`",
            "there is no file `linked`",
        ]


def test_times_are_found_in_any_case_and_as_begin_and_text(folder: Path) -> None:
    path = "s0/take.0.wav"
    lines: list[dict[str, Any]] = [
        {"path": path, "Start": 0.1, "END": 0.3, "Snr": 1},
        {"path": path, "begin": "0.1", "end": "0.3", "Snr": 1},
        {"path": path, "Offset": 0.1, "Duration": "0.25", "Snr": 1},
        {"path": path, "start": None, "offset": None, "Snr": 1},
    ]
    (folder / "a.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (shard,) = listed(folder / "a.jsonl")
    clips = read_list(shard.listed)
    assert [clip.span for clip in clips] == [*[Span(0.1, 0.3)] * 2, Span(0.1, 0.35), None]
    assert [clip.fields for clip in clips] == [
        {"Snr": 1},
        {"Snr": 1},
        {"Snr": 1, "duration": 0.25},
        {"Snr": 1},
    ]
