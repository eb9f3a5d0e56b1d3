"""Loose recordings become shards that the main job reads, and held-out speakers stay apart."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from jobs.cli import run
from tests.support.shard_maker import read_members
from xy_codec.errors import ConfigError
from xy_codec.training.nano_speech.requirements import check_requirements
from xy_codec.training.nano_speech.shards import make_clips, write_shard
from xy_codec.training.nano_speech.sources import (
    HELD_OUT_LANGUAGES,
    SOURCES,
    SpeechSource,
    find_recordings,
)
from xy_codec.training.nano_speech.synthesis import read_sentences
from xy_codec.training.shard_audio import load_shard, local_shards

PROMPTS = SpeechSource("p", "**/*.{ogg,wav}", "reader-{0}", "{0}", "PD", r"_(en|el)\.\w+$")


def write_prompts(folder: Path, count: int = 12) -> None:
    random = np.random.default_rng(0)
    for number in range(count):
        quiet = np.zeros(8000, np.float32)
        tone = 0.3 * np.sin(np.arange(22050) * random.uniform(0.05, 0.3)).astype(np.float32)
        language = "en" if number % 2 else "el"
        wave = np.concatenate([quiet, tone, quiet])
        soundfile.write(folder / f"{number}_{language}.wav", wave, 22050)
    (folder / "broken_en.ogg").write_bytes(b"no audio")


def test_short_prompts_of_one_speaker_are_joined_and_trimmed(tmp_path: Path):
    write_prompts(tmp_path)
    clips = list(make_clips(PROMPTS, tmp_path, seconds=3.0))
    assert {clip.speaker for clip in clips} == {"reader-en", "reader-el"}
    assert max(len(clip.wave) for clip in clips) < 4.5 * 24000
    # Twelve seconds of tones; the silence around them is gone but for 50 ms on either side.
    assert 12 < sum(len(clip.wave) for clip in clips) / 24000 < 14.5


def test_all_that_is_missing_is_named_before_anything_is_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("PATH", str(tmp_path))
    folder = tmp_path / "speech"
    words = ["prepare-speech", str(folder), "--hibari", "1", "--kokoro", "1"]
    assert run([*words, "--without", "gcin-voice"]) == 2
    error = capsys.readouterr().err
    assert "apt install ffmpeg" in error
    assert not folder.exists()
    named = dict(re.findall(r"`(\S+)`, needed for (.*)", error))
    games = {"fillets-ng-data-cs", "klettres-data", "hedgewars-data"}
    assert games <= set(named["apt-get"].split(", "))
    assert named["dpkg-deb"] == named["apt-get"]
    assert "gcin-voice" not in error
    assert set(named["ffmpeg"].split(", ")) == {
        f"asterisk-core-sounds-{language}-g722" for language in ("en", "es", "fr", "it", "ru")
    }
    assert named[f"{folder}/packages/kokoro-js/*.bin"] == "kokoro"


def test_a_package_that_is_unpacked_needs_no_fetching(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match=r"`apt-get`, needed for p\n"):
        check_requirements([PROMPTS], tmp_path, tmp_path)
    (tmp_path / "p").mkdir()
    check_requirements([PROMPTS], tmp_path, tmp_path)
    with pytest.raises(ConfigError, match="`ffmpeg`, needed for p\n"):
        check_requirements([replace(PROMPTS, pattern="*.g722")], tmp_path, tmp_path)


def test_shards_are_emilia_pairs_that_training_reads_back(tmp_path: Path):
    write_prompts(tmp_path)
    shard = tmp_path / "out" / "P-B000000.tar"
    hours = write_shard(shard, "P_B00000", make_clips(PROMPTS, tmp_path, seconds=3.0))
    members = read_members(shard)
    names = list(members)
    notes = json.loads(members[names[0]])
    assert names[0].replace(".json", ".mp3") == names[1]
    assert set(notes) == {"id", "wav", "text", "duration", "speaker", "language"}
    audio = load_shard(local_shards(str(shard))[0], 16000)
    assert len(audio) == len(names) // 2
    assert abs(len(audio.samples) / 16000 - hours * 3600) < 1


def test_the_same_recordings_give_the_same_shard(tmp_path: Path):
    write_prompts(tmp_path)
    for name in "ab":
        write_shard(tmp_path / f"{name}.tar", "P", make_clips(PROMPTS, tmp_path, seconds=3.0))
    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes()


def test_held_out_readers_are_in_no_training_source(tmp_path: Path):
    paths = {
        "klettres-data": "usr/klettres/{}/alpha/a.ogg",
        "ktuberling-data": "usr/sounds/{}/a.ogg",
        "tuxpaint-stamps-default": "usr/cow_desc_{}.ogg",
    }
    for package, pattern in paths.items():
        for language in ("fr", *HELD_OUT_LANGUAGES):
            path = tmp_path / package / pattern.format(language)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    heard: dict[bool, set[str]] = {False: set(), True: set()}
    for source in SOURCES:
        if source.package in paths:
            found = find_recordings(source, tmp_path / source.package)
            heard[source.held_out] |= {language for _, language, _ in found}
    assert heard[True] == HELD_OUT_LANGUAGES
    assert heard[False] == {"fr"}


def test_sentences_are_plain_and_their_order_is_fixed(tmp_path: Path):
    page = tmp_path / "html" / "en-US" / "index.html"
    page.parent.mkdir(parents=True)
    good = "This is a plain sentence that is long enough to be read."
    page.write_text(f"<p>{good} Too short. Run apt | grep and other things nobody can read.</p>")
    assert read_sentences(tmp_path) == [good]
