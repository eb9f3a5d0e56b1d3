"""A codec in which nothing is like XY-Tokenizer goes the whole way: nothing reads a constant.

Three codebooks of 7, 300 and 65,536 entries, int32, 21.53 frames a second, lengths rounded up, and
five side values a clip.
"""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from torch.utils.data import DataLoader

import xytok
from jobs import cli
from pipeline.audit.audit import AuditRequest, open_audit, run_audit
from pipeline.audit.audit_output import summarize
from pipeline.audit.judge.verdict import judge
from pipeline.audit.report.audit_page import render_report
from pipeline.audit.report.clip_cards import Playback
from pipeline.bench.codec_speed import GridPlan, measure_grid
from pipeline.corpus.decode import ClipBounds, DecodedClip, decode_clip
from tests.support.audit_run import audit_run, change_part, copy_run
from tests.support.shard_maker import audio, emilia_json, write_shard
from xy_codec import load_codec
from xy_codec.contract import Encoded
from xy_codec.errors import CodesError
from xy_codec.fake import FAKES

SHAPE = FAKES["fake-odd"]
LENGTHS = (0.5, 1.3, 2.7)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two shards and the output of their run."""
    folder = tmp_path_factory.mktemp("odd")
    for name in ("a", "b"):
        clips = [
            (f"{name}{number}.{kind}", content)
            for number, seconds in enumerate(LENGTHS)
            for kind, content in (
                ("json", emilia_json(f"{name}{number}", duration=seconds)),
                ("wav", audio(seconds, kind="wav", seed=number + ord(name))),
            )
        ]
        short = [(f"{name}-short.wav", audio(0.01, kind="wav"))]
        write_shard(folder / "in" / f"{name}.tar", [*clips, *short])
    words = ["tokenize", str(folder / "in"), str(folder / "out"), "--engine", "inline", "--quiet"]
    assert cli.run([*words, "--codec", "fake-odd"]) == 0
    return folder


def expected(name: str) -> dict[str, Encoded]:
    """What the codec gives for the clips of a shard, asked by hand."""
    codec = load_codec("fake-odd")
    waves = {}
    for number, seconds in enumerate(LENGTHS):
        content = audio(seconds, kind="wav", seed=number + ord(name))
        clip = decode_clip(content, SHAPE.input_rate_hz, ClipBounds())
        assert isinstance(clip, DecodedClip)
        waves[f"{name}{number}"] = clip.waveform
    return dict(zip(waves, codec.encode_with_side(list(waves.values())), strict=True))


def test_parts_hold_its_type_sizes_and_side_values(corpus: Path) -> None:
    (part,) = (corpus / "out").glob("tokens/**/a.parquet")
    table = pq.read_table(part)
    assert str(table.schema.field("codes").type.value_type.value_type) == "int32"
    rows = table.to_pylist()
    wanted = expected("a")
    assert [row["key"] for row in rows] == list(wanted)
    for row, (codes, side) in zip(rows, wanted.values(), strict=True):
        assert np.array_equal(np.array(row["codes"]), codes)
        assert side is not None
        assert np.array_equal(np.array(row["side"], np.float32), side)
        assert row["num_frames"] == -(-round(row["duration"] * 22050) // 1024)
    assert max(codes[2].max() for codes, _ in wanted.values()) > 32767


def test_a_clip_under_the_least_length_is_a_reject(corpus: Path) -> None:
    (rejects,) = (corpus / "out").glob("rejects/**/a.parquet")
    (row,) = pq.read_table(rejects).to_pylist()
    assert (row["key"], row["reason"]) == ("a-short", "too_short")
    assert "needs 385" in row["detail"]


def test_the_same_command_again_finds_all_done_and_another_codec_is_refused(
    corpus: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["tokenize", str(corpus / "in"), str(corpus / "out"), "--engine", "inline", "--quiet"]
    before = {path: path.stat().st_mtime_ns for path in corpus.rglob("*.parquet")}
    assert cli.run([*words, "--codec", "fake-odd"]) == 0
    assert {path: path.stat().st_mtime_ns for path in corpus.rglob("*.parquet")} == before
    for other in (["fake"], ["fake-odd", "--codec-option", "depth=2"]):
        capsys.readouterr()
        assert cli.run([*words, "--codec", *other]) == 2
        assert "output has `" in capsys.readouterr().err


def test_it_is_verified_planned_shown_and_described(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = str(corpus / "out")
    assert cli.run(["verify", output]) == 0
    assert cli.run(["plan", str(corpus / "in"), output, "--codec", "fake-odd"]) == 0
    assert "codes of 582 bit/s" in capsys.readouterr().out
    wav = tmp_path / "a1.wav"
    assert cli.run(["show", output, "a1", "--codec", "fake-odd", "--wav", str(wav)]) == 0
    assert wav.stat().st_size > 28 * 2048 * 2
    assert cli.run(["card", output, "--licence", "cc0-1.0", "--title", "Odd"]) == 0
    card = capsys.readouterr().out
    assert "3 codebooks of 7, 300, 65,536, 21.533 frames a second" in card
    assert "list of 3 lists of int32" in card
    assert "| `side` |" in card


def test_it_is_read_back_whole_and_in_prefixes(corpus: Path) -> None:
    output = corpus / "out"
    wanted = expected("a") | expected("b")
    rows = list(xytok.open_dataset(output, columns=("side",)))
    for row in rows:
        assert np.asarray(row.codes).dtype == np.int32
        assert np.array_equal(np.asarray(row.codes), wanted[row.key].codes)
        side = wanted[row.key].side
        assert side is not None
        assert np.array_equal(np.float32(row.columns["side"]), side)
    two = list(xytok.open_dataset(output, num_codebooks=2))
    assert np.array_equal(np.asarray(two[0].codes), wanted[two[0].key].codes[:2])
    samples: list[Any] = list(DataLoader(xytok.TorchCodes(xytok.open_dataset(output)), None))
    assert {str(sample["codes"].dtype) for sample in samples} == {"torch.int32"}


def test_an_audit_finds_it_right(corpus: Path) -> None:
    findings = audit_run(corpus / "out", groups=("stoi", "acoustics"))
    drifts = [clip.drift for clip in findings.clips]
    assert [drift is not None and drift.equal for drift in drifts] == [True] * 6
    assert all(clip.scores.stoi is not None for clip in findings.clips)
    # What the codec added to fill the last frame is not counted as a longer sound.
    lengths = [clip.scores.length_difference_seconds for clip in findings.clips]
    assert all(length is not None and abs(length) < 1e-3 for length in lengths)
    for report in findings.tokens:
        assert report.problems == ()
        assert (report.bad_shape_rows, report.bad_length_rows, report.out_of_range_rows) == (
            0,
            0,
            0,
        )
        assert report.counts.sum(axis=1).tolist() == [report.frames] * 3
        assert len(report.usage) == 3


def test_the_page_of_an_audit_has_the_sounds_of_its_clips(corpus: Path) -> None:
    request = AuditRequest(str(corpus / "out"), groups=("stoi",), processes=0, device="cpu")
    run, codec = open_audit(request)
    findings = run_audit(request, run, codec)
    playback = Playback(run, codec, request.storage, request.source_map)
    for clip in findings.clips:
        sounds = playback(clip)
        assert sounds is not None, clip.key
        assert abs(len(sounds.reconstruction) - len(sounds.original)) <= 2048 * 16000 / 44100
    page = render_report(findings, judge(findings), audio=playback)
    assert page.count("<audio") == 12


def test_its_speed_is_measured_both_ways() -> None:
    plan = GridPlan(lengths_seconds=(0.2,), cell_seconds=0.001)
    figures = list(measure_grid(load_codec("fake-odd"), plan, matmul_flops=1e9))
    assert {figure.direction for figure in figures} == {"encode", "decode"}


def test_codes_without_their_side_values_are_refused() -> None:
    codec = load_codec("fake-odd")
    codes = np.zeros((3, 2), np.int32)
    with pytest.raises(CodesError, match=r"Codes 1 came without side values; expected the 5 "):
        codec.decode([codes] * 2, side=[np.zeros(5, np.float32), None])
    with pytest.raises(CodesError, match="expected None, because the codec has no side"):
        load_codec("fake").decode([np.zeros((8, 2), np.int16)], side=[np.zeros(5, np.float32)])


def test_an_audit_goes_on_past_side_values_that_nothing_decodes(
    corpus: Path, tmp_path: Path
) -> None:
    output = copy_run(corpus / "out", tmp_path / "out")

    def rewrite(table: pa.Table) -> pa.Table:
        rows = table.to_pylist()
        rows[0]["side"][2] = math.nan
        rows[1]["side"].pop()
        return pa.Table.from_pylist(rows, schema=table.schema)

    change_part(output, rewrite, "a.tar")
    findings = audit_run(output)
    clips = {clip.key: clip for clip in findings.clips}
    for key in ("a0", "a1"):
        drift = clips[key].drift
        assert drift is not None
        assert (drift.side_error, drift.equal) == (math.inf, False)
        assert clips[key].reasons["decode"] == "bad_codes"
    judged = judge(findings)
    faults = [fault for shard in judged.shards for fault in shard.faults]
    assert [fault.name for fault in faults] == ["other side values"]
    assert "side values that are not the codec's" in faults[0].evidence
    assert json.loads(summarize(findings, judged))["verdict"] == "drift"


def test_an_audit_finds_changed_codes_and_changed_side_values(corpus: Path, tmp_path: Path) -> None:
    output = copy_run(corpus / "out", tmp_path / "out")

    def rewrite(table: pa.Table) -> pa.Table:
        rows = table.to_pylist()
        rows[0]["codes"][2][3] += 1
        rows[1]["side"][4] += 0.5
        rows[2]["codes"][0][1] = 7  # the codebook has entries 0 to 6
        return pa.Table.from_pylist(rows, schema=table.schema)

    change_part(output, rewrite, "a.tar")
    findings = audit_run(output)
    drifts = {clip.key: clip.drift for clip in findings.clips}
    assert drifts["a0"] is not None
    assert drifts["a0"].differing_codes == (0, 0, 1)
    assert drifts["a1"] is not None
    assert (drifts["a1"].equal, drifts["a1"].explained_by) == (False, "other side values")
    assert drifts["a1"].side_error == pytest.approx(0.5)
    assert [report.out_of_range_rows for report in findings.tokens] == [1, 0]
    judged = judge(findings)
    faults = {fault.name: fault for shard in judged.shards for fault in shard.faults}
    assert judged.exit_code == 1
    assert "side values differ by up to 0.5" in faults["other side values"].evidence
    page = render_report(findings, judged)
    assert "perplexity of 7 or 300 or 65,536" in page


def test_it_is_compared_with_a_codec_of_another_rate(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["compare", "fake", "fake-odd", "--inputs", str(corpus / "in"), "--metrics", "stoi"]
    assert cli.run([*words, "--json", "-o", str(tmp_path / "page.html"), "--quiet"]) == 0
    metrics = json.loads(capsys.readouterr().out)["metrics"]
    assert metrics["stoi"]["a"] != metrics["stoi"]["b"]
