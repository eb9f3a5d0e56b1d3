"""Faults planted in shards and parts of a real codec, found by the command as a user runs it."""

import json

import numpy as np
import pytest

from jobs.cli import run as xytok
from tests.support.audit_run import change_part, copy_run, make_run
from tests.support.places import SPEECH
from tests.support.shard_maker import emilia_json, float_wav, write_shard

SPOKEN = "EN-B000000.tar"
SILENT = "EN-B000009.tar"
NUM_SILENT, NUM_CLICKS = 9, 3


def silence(seconds: float, click_seconds: float = 0.0) -> bytes:
    """Digital silence, where asked with a click that is too short for an utterance."""
    samples = np.zeros(round(seconds * 24000), np.float32)
    click = np.random.default_rng(0).standard_normal(round(click_seconds * 24000))
    samples[8000 : 8000 + len(click)] = 0.1 * click
    return float_wav(samples)


@pytest.fixture(scope="module")
def silent_run(tmp_path_factory):
    """A shard of speech and a shard of silence, tokenized by the bundled codec."""
    folder = tmp_path_factory.mktemp("planted")
    inputs = folder / "Emilia" / "EN"
    inputs.mkdir(parents=True)
    (inputs / SPOKEN).symlink_to(SPEECH / "Emilia/EN" / SPOKEN)
    clips = [silence(3 + 0.1 * number) for number in range(NUM_SILENT)]
    clips += [silence(2 + 0.1 * number, click_seconds=0.05) for number in range(NUM_CLICKS)]
    members = [(f"s{number}.wav", clip) for number, clip in enumerate(clips)]
    members += [(f"s{number}.json", emilia_json(f"s{number}")) for number in range(len(clips))]
    write_shard(inputs / SILENT, members)
    return make_run(folder / "run", str(inputs), "xy-nano", root=str(folder))


def audit(run, report, *words: str) -> tuple[int, dict]:
    words = ("audit", str(run), "--quiet", "--device", "cpu", "--output", str(report), *words)
    code = xytok([*words, "--processes", "0"])
    return code, json.loads((report / "summary.json").read_text())


def faults(summary: dict) -> dict[str, list[tuple[str, str]]]:
    return {
        shard["shard"].rpartition("/")[2]: [(f["verdict"], f["name"]) for f in shard["faults"]]
        for shard in summary["shards"]
    }


def test_a_shard_of_silence_is_unusual_content_and_no_damage(silent_run, tmp_path):
    code, summary = audit(silent_run, tmp_path, "--metrics", "acoustics,pesq")
    assert code == 1
    assert faults(summary) == {SPOKEN: [], SILENT: [("unusual content", "silence")]}
    # Nothing is dropped silently: what PESQ cannot judge is counted with its reason.
    missing = {"silent": NUM_SILENT, "no_utterance": NUM_CLICKS}
    assert summary["missing"]["pesq_nb"] == summary["missing"]["pesq_wb"] == missing
    assert "no_utterance" in (tmp_path / "report.html").read_text()


def test_a_part_with_rows_removed_is_broken(silent_run, tmp_path):
    run = copy_run(silent_run, tmp_path / "run")
    change_part(run, lambda table: table.slice(1), SPOKEN)
    # Counting rows needs neither codec nor sound, so little of either is measured.
    words = ("--metrics", "acoustics", "--no-reencode", "--per-shard", "2", "--shard", SPOKEN)
    code, summary = audit(run, tmp_path, *words)
    assert code == 1
    assert faults(summary) == {SPOKEN: [("broken", "missing rows")]}
    assert summary["answer"] == "Do not train on this data"
