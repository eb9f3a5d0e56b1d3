"""Loose recordings become shards that the main job reads, and held-out speakers stay apart."""

import json
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.support.tar_members import read_member
from xy_codec.errors import AudioError
from xy_codec.training.nano_speech.shards import clips_of, write_shard
from xy_codec.training.nano_speech.sources import (
    HELD_OUT_LANGUAGES,
    SOURCES,
    SpeechSource,
    recordings,
)
from xy_codec.training.nano_speech.synthesis import sentences
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
    clips = list(clips_of(PROMPTS, tmp_path, seconds=3.0))
    assert {clip.speaker for clip in clips} == {"reader-en", "reader-el"}
    assert max(len(clip.wave) for clip in clips) < 4.5 * 24000
    # Twelve seconds of tones; the silence around them is gone but for 50 ms on either side.
    assert 12 < sum(len(clip.wave) for clip in clips) / 24000 < 14.5


def test_a_missing_ffmpeg_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "0_en.g722").write_bytes(b"\0" * 100)
    source = replace(PROMPTS, pattern="**/*.g722")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(AudioError, match="apt install ffmpeg"):
        list(clips_of(source, tmp_path, seconds=3.0))


def test_shards_are_emilia_pairs_that_training_reads_back(tmp_path: Path):
    write_prompts(tmp_path)
    shard = tmp_path / "out" / "P-B000000.tar"
    hours = write_shard(shard, "P_B00000", clips_of(PROMPTS, tmp_path, seconds=3.0))
    with tarfile.open(shard) as tar:
        names = tar.getnames()
        notes = json.loads(read_member(tar, names[0]))
    assert names[0].replace(".json", ".mp3") == names[1]
    assert set(notes) == {"id", "wav", "text", "duration", "speaker", "language"}
    audio = load_shard(local_shards(str(shard))[0], 16000)
    assert len(audio) == len(names) // 2
    assert abs(len(audio.samples) / 16000 - hours * 3600) < 1


def test_the_same_recordings_give_the_same_shard(tmp_path: Path):
    write_prompts(tmp_path)
    for name in "ab":
        write_shard(tmp_path / f"{name}.tar", "P", clips_of(PROMPTS, tmp_path, seconds=3.0))
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
            found = recordings(source, tmp_path / source.package)
            heard[source.held_out] |= {language for _, language, _ in found}
    assert heard[True] == HELD_OUT_LANGUAGES
    assert heard[False] == {"fr"}


def test_sentences_are_plain_and_their_order_is_fixed(tmp_path: Path):
    page = tmp_path / "html" / "en-US" / "index.html"
    page.parent.mkdir(parents=True)
    good = "This is a plain sentence that is long enough to be read."
    page.write_text(f"<p>{good} Too short. Run apt | grep and other things nobody can read.</p>")
    assert sentences(tmp_path) == [good]
