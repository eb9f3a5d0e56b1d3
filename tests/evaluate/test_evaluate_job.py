"""`xytok evaluate` on real shards: one table, one page and one JSON that say the same."""

import json
from collections.abc import Sequence
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jobs.cli import run as xytok
from pipeline.audit.metrics.heard_text import character_errors
from pipeline.audit.sample.sampling import SamplePlan
from pipeline.corpus.listing import list_shards
from pipeline.evaluate.probe.clips import check_texts
from pipeline.evaluate.published import PUBLISHED
from pipeline.storage.client import Storage
from tests.support.audit_page import tags
from tests.support.audit_run import audit_run, make_run
from tests.support.places import SPEECH
from tests.support.shard_maker import pair, write_shard

DATA = str(SPEECH / "Emilia/EN/EN-B000000.tar")
LEARNED = str(SPEECH / "Emilia-YODAS/EN/EN-B000000.tar")
PROBE = ("--probe-data", LEARNED, "--probe-preset", "small", "--probe-steps", "3")
HERE = ("--processes", "0", "--device", "cpu", "--quiet", "--speed-seconds", "0.05")


def evaluate(*words: str) -> int:
    return xytok(["evaluate", "--data", DATA, *HERE, *words])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two codecs, measured and probed: one of few codebooks, one with another rate."""
    folder = tmp_path_factory.mktemp("evaluate")
    codecs = ("--codec", "fake,depth=4", "--codec", "fake-odd")
    assert evaluate(*codecs, *PROBE, "--per-shard", "4", "--out", str(folder)) == 0
    return folder


@pytest.fixture(scope="module")
def record(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "evaluation.json").read_text())
    return found


def test_the_record_has_both_codecs_on_the_same_clips(record: dict[str, Any]):
    half, odd = record["measured"]
    assert (half["name"], odd["name"]) == ("fake,depth=4", "fake-odd")
    assert half["bits_per_second"] == 4 * 10 * 12.5
    assert odd["frame_rate_hz"] == pytest.approx(22050 / 1024)
    assert half["clips"] == odd["clips"] == 4
    assert half["sim_model"] == "campplus"
    assert half["speed"]["encode"] > 0
    assert half["speed"]["decode"] > 0
    assert half["probe"]["read"] == "learned tables"
    names = {"sim", "stoi", "pesq_nb", "pesq_wb", "probe_wer", "probe_cer"}
    assert set(half["figures"]) == set(odd["figures"]) == names


def test_figures_of_sound_are_those_of_an_audit(folder: Path, record: dict[str, Any]):
    run = folder / "systems/fake_depth=4/data"
    found = audit_run(run, groups=("stoi",), reencode=False, plan=SamplePlan(4))
    values = [clip.scores.stoi for clip in found.drawn if clip.scores.stoi is not None]
    figure = record["measured"][0]["figures"]["stoi"]
    assert figure["clips"] == len(values) == 4
    assert figure["estimate"] == pytest.approx(np.mean(values))


def test_probe_errors_are_those_of_the_transcripts_in_the_record(record: dict[str, Any]):
    for system in record["measured"]:
        transcripts = system["probe"]["transcripts"]
        errors = [character_errors(each["reference"], each["text"]) for each in transcripts]
        rate = sum(e.edits for e in errors) / sum(e.length for e in errors)
        assert system["figures"]["probe_cer"]["estimate"] == pytest.approx(rate)


def test_a_probe_that_has_not_learned_is_not_taken_for_a_finding(
    folder: Path, record: dict[str, Any]
):
    texts = {
        one["name"]: [each["text"] for each in one["probe"]["transcripts"]]
        for one in record["measured"]
    }
    mute = [name for name, each in texts.items() if not any(each)]
    assert mute
    told = f"the probe wrote no letter for {', '.join(mute)}: it has not learned to read yet"
    assert told in (folder / "evaluation.html").read_text()


def test_the_page_plays_every_codec_and_keeps_published_figures_apart(folder: Path):
    page = (folder / "evaluation.html").read_text()
    labels = [attrs["aria-label"] or "" for tag, attrs in tags(page) if tag == "audio"]
    assert [label.split(" of ")[0] for label in labels[:3]] == [
        "Original",
        "fake,depth=4",
        "fake-odd",
    ]
    assert len(labels) == 3 * 4
    assert page.count("<circle") == 4 * 2
    assert not [tag for tag, attrs in tags(page) if (attrs.get("src") or "").startswith("http")]
    measured, published = page.split("Published by others")
    for row in PUBLISHED:
        assert row.codec in published
        assert row.codec not in measured


def test_published_figures_of_sim_say_which_model_they_are_from():
    assert all(row.sim_model for row in PUBLISHED if row.sim is not None)
    assert all(row.asr_model for row in PUBLISHED if row.asr_wer is not None)


def test_the_same_command_goes_on_with_runs_and_probes(
    folder: Path, record: dict[str, Any], capsys
):
    probe = folder / "systems/fake_depth=4/probe.pt"
    before = probe.read_bytes()
    assert evaluate("--codec", "fake,depth=4", *PROBE, "--per-shard", "4", "-o", str(folder)) == 0
    assert probe.read_bytes() == before
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:2] == ["bit/s", "frames/s"]
    assert lines[1].startswith("fake,depth=4 ")
    again = json.loads((folder / "evaluation.json").read_text())["measured"][0]
    assert again["probe"] == record["measured"][0]["probe"]


def test_other_shards_in_the_same_output_are_not_measured_with_those_before(
    tmp_path: Path,
) -> None:
    measured = []
    for name in ("EN-B000000", "EN-B000001"):
        data = str(SPEECH / f"Emilia/EN/{name}.tar")
        words = ("--codec", "fake", "--per-shard", "2", "--out", str(tmp_path))
        assert xytok(["evaluate", "--data", data, *HERE, *words]) == 0
        measured += json.loads((tmp_path / "evaluation.json").read_text())["measured"]
    assert [system["clips"] for system in measured] == [2, 2]
    assert measured[0]["figures"]["stoi"] != measured[1]["figures"]["stoi"]


def test_stored_codes_of_a_run_are_probed_with_tables_of_its_own(tmp_path: Path):
    both = "{Emilia,Emilia-YODAS}/EN/EN-B000000.tar"
    run = make_run(tmp_path / "codes", f"{SPEECH}/{both}")
    assert evaluate("--run", str(run), *PROBE, "--out", str(tmp_path / "eval")) == 0
    (system,) = json.loads((tmp_path / "eval/evaluation.json").read_text())["measured"]
    assert system["probe"]["read"] == "learned tables"
    assert set(system["figures"]) == {"probe_wer", "probe_cer"}
    assert len(system["probe"]["transcripts"]) == 17


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((), "Neither `--codec` nor `--run` was given"),
        (("--run", "codes"), "`--run` was given without `--probe-data`"),
        (("--codec", "fake", "--probe-data", DATA), "is in `--data` and in `--probe-data`"),
        (("--codec", "fake", "--probe-steps", "3"), "are of a probe, which learns from"),
    ],
)
def test_what_cannot_be_measured_is_refused(
    words: Sequence[str], told: str, tmp_path: Path, capsys
):
    assert evaluate(*words, "--out", str(tmp_path / "eval")) == 2
    assert told in capsys.readouterr().err


def test_speakers_bound_the_errors(record: dict[str, Any]):
    figure = record["measured"][0]["figures"]["probe_cer"]
    speakers = {each["speaker"] for each in record["measured"][0]["probe"]["transcripts"]}
    assert len(speakers) >= 3
    assert figure["low"] is not None
    assert np.isfinite(figure["high"])


def test_a_score_that_one_codec_lacks_of_a_clip_counts_for_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    """What one codec leaves of a third of a second is too short for SIM."""
    lengths = (0.3, 2.0, 2.1, 2.2)
    clips = [pair(f"c{n}", each, n, speaker=f"s{n}") for n, each in enumerate(lengths)]
    shard = write_shard(tmp_path / "clips.tar", [member for clip in clips for member in clip])
    codecs = ("--codec", "fake", "--codec", "fake-odd")
    words = ("evaluate", "--data", str(shard), *HERE, *codecs, "-o", str(tmp_path / "eval"))
    assert xytok(list(words)) == 0
    found = json.loads((tmp_path / "eval/evaluation.json").read_text())
    one, other = found["measured"]
    assert "sim" in one["missing"]
    assert "sim" not in other["missing"]
    assert one["figures"]["sim"]["clips"] == other["figures"]["sim"]["clips"] == 3
    told = "a figure is of the clips that have it with every codec: SIM of 3"
    assert told in capsys.readouterr().out


def test_page_and_record_say_what_was_measured_on_what(folder: Path, record: dict[str, Any]):
    assert record["data"] == [DATA]
    assert record["probe_data"] == [LEARNED]
    assert record["sample"]["per_shard"] == 4
    speed = record["measured"][0]["speed"]
    page = unescape((folder / "evaluation.html").read_text())
    assert f"speech: {DATA}" in page
    assert f"learned from {LEARNED}" in page
    assert f"times real time on {speed['device']}, {speed['threads']} thread" in page


def test_speech_without_texts_is_refused_before_a_codec_is_loaded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    clip = pair("c0", 2.0, text=None, transcript="what is said")
    learned, out = write_shard(tmp_path / "learned.tar", clip), tmp_path / "eval"
    assert evaluate("--codec", "fake", "--probe-data", str(learned), "-o", str(out)) == 1
    assert "The first 1 clip of `--probe-data` have no text" in capsys.readouterr().err
    assert not out.exists()
    write_shard(learned, [*clip, ("c0.txt", b"what is said")])
    check_texts("--probe-data", list_shards([str(learned)], Storage()), Storage())
