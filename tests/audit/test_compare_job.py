"""`xytok compare` on real runs: the same clips on both sides, paired differences, a page."""

import json
from pathlib import Path

import numpy as np
import pytest

from jobs.cli import run as xytok
from pipeline.audit.sample.sampling import SamplePlan
from tests.support.audit_page import tags
from tests.support.audit_run import audit_run, make_run
from tests.support.needs import needs_float16
from tests.support.places import SPEECH
from tests.support.shard_maker import pairs, write_shard

SHARD = str(SPEECH / "Emilia/EN/EN-B000000.tar")
OPTIONS = ("--metrics", "stoi", "--processes", "0", "--device", "cpu", "--quiet")


@pytest.fixture(scope="module")
def nano_run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("compare") / "nano", SHARD, "xy-nano")


@pytest.fixture(scope="module")
def fake_run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("compare") / "fake", SHARD)


def compare(a: Path | str, b: Path | str, *more: str) -> int:
    return xytok(["compare", str(a), str(b), *OPTIONS, *more])


def stoi(run) -> dict[str, float]:
    found = audit_run(run, groups=("stoi",), reencode=False, plan=SamplePlan(20))
    scores = {clip.key: clip.scores.stoi for clip in found.clips}
    return {key: value for key, value in scores.items() if value is not None}


def test_differences_are_those_of_the_same_clips(nano_run, fake_run, tmp_path, capsys):
    page = tmp_path / "page.html"
    assert compare(nano_run, fake_run, "--output", str(page), "--json") == 0
    found = json.loads(capsys.readouterr().out)
    a, b = stoi(nano_run), stoi(fake_run)
    assert set(a) == set(b)
    assert found["clips"] == len(a) == 17
    result = found["metrics"]["stoi"]
    assert result["difference"] == pytest.approx(np.mean([b[key] - a[key] for key in a]))
    assert result["low"] < result["difference"] < result["high"] < 0
    assert result["better"] == "A"
    assert result["adjusted_p"] < 0.01
    html = page.read_text()
    assert "<h1>A sounds better</h1>" in html
    labels = [attrs["aria-label"] or "" for tag, attrs in tags(html) if tag == "audio"]
    assert [label.split()[0] for label in labels[:3]] == ["Original", "A", "B"]
    assert len(labels) == 3 * 6


@needs_float16
def test_two_precisions_make_no_difference_that_matters(nano_run, tmp_path, capsys):
    fast = make_run(tmp_path / "fast", SHARD, "xy-nano", "fast")
    page = tmp_path / "page.html"
    assert compare(nano_run, fast, "--output", str(page)) == 0
    assert capsys.readouterr().out.startswith("No difference that matters.")
    assert ">+0 <" not in page.read_text()


def test_two_checkpoints_are_tried_on_the_first_clips_of_a_shard(tmp_path, capsys):
    page = tmp_path / "page.html"
    words = ("--inputs", SHARD, "--per-shard", "12", "--output", str(page), "--json")
    assert compare("fake", "xy-nano", *words) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["a"], found["b"], found["clips"]) == ("fake", "xy-nano", 12)
    assert found["metrics"]["stoi"]["better"] == "B"
    assert "A <code>fake</code>" in page.read_text()


def test_runs_over_other_shards_have_nothing_to_compare(fake_run, tmp_path, capsys):
    shard = write_shard(tmp_path / "other.tar", pairs(2))
    other = make_run(tmp_path / "other", str(shard), root="")
    assert compare(fake_run, other, "--output", str(tmp_path / "page.html")) == 1
    assert "no sampled clip in common" in capsys.readouterr().err
    assert not (tmp_path / "page.html").exists()


def test_a_checkpoint_for_a_checkpoint_is_refused(capsys):
    assert compare("fake", "xy-nano", "--inputs", SHARD, "--codec", "fake") == 2
    assert "`--codec` and `--inputs`" in capsys.readouterr().err


def test_one_checkpoint_is_compared_under_two_options(tmp_path, capsys):
    words = ("--inputs", SHARD, "--per-shard", "4", "--output", str(tmp_path / "page.html"))
    options = ("--codec-option", "depth=8", "--codec-option-b", "depth=2")
    assert compare("fake", "fake", *words, "--json", *options) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["a"], found["b"]) == ("fake depth=8", "fake depth=2")
    assert compare("fake", "fake", *words, "--codec-option", "dept=8") == 2
    assert "expected `depth`" in capsys.readouterr().err


def test_options_of_a_codec_are_refused_for_runs(fake_run, capsys):
    assert compare(fake_run, fake_run, "--codec-option", "depth=2") == 2
    assert "goes with `--inputs` alone" in capsys.readouterr().err


def test_a_run_that_is_not_there_is_told_before_the_other_is_measured(
    fake_run, tmp_path, capsys, monkeypatch
):
    def measured(*_):
        raise AssertionError("measured a run though the other is missing")

    monkeypatch.setattr("pipeline.audit.compare.run_audit", measured)
    for sides in ((fake_run, tmp_path / "nothing"), (tmp_path / "nothing", fake_run)):
        assert compare(*sides, "--output", str(tmp_path / "page.html")) == 2
        assert str(tmp_path / "nothing") in capsys.readouterr().err
