"""Training speech: the batch of a step depends on nothing but the step."""

from pathlib import Path

import numpy as np
import pytest
import torch
from training_case import load_tiny

from xy_codec.errors import ConfigError
from xy_codec.training.shard_audio import list_shards, load_shard
from xy_codec.training.speech_change import change_pitch
from xy_codec.training.speech_stream import Place, SpeechStream


def stream(folder: Path, place: Place | None = None, **overrides: object) -> SpeechStream:
    recipe = load_tiny(folder, **overrides)
    return SpeechStream(recipe.speech, 16000, 1280, seed=3, place=place or Place())


def test_a_step_gives_the_same_batch_in_any_order(tmp_path: Path):
    forward, backward = stream(tmp_path), stream(tmp_path)
    ahead = [forward.batch(step).waves for step in range(4)]
    for step in reversed(range(4)):
        assert torch.equal(backward.batch(step).waves, ahead[step])
    assert not torch.equal(ahead[0], ahead[1])


def test_small_pools_go_through_all_shards_and_resume_inside_one(tmp_path: Path):
    options = {"speech__pool_shards": 1, "speech__batches_per_pool": 2}
    straight, resumed = stream(tmp_path, **options), stream(tmp_path, **options)
    batches = [straight.batch(step).waves for step in range(8)]
    assert torch.equal(resumed.batch(5).waves, batches[5])
    pools = {number: set(straight._load(number).speakers) for number in range(4)}
    assert len(set().union(*pools.values())) > max(map(len, pools.values()))


def test_processes_hear_different_speech(tmp_path: Path):
    first = stream(tmp_path, Place(0, 2)).batch(0).waves
    second = stream(tmp_path, Place(1, 2)).batch(0).waves
    assert not torch.equal(first, second)


def test_the_cache_holds_what_decoding_gives(tmp_path: Path):
    url = list_shards(load_tiny(tmp_path).speech.shards)[0]
    fresh = load_shard(url, 16000)
    for _ in range(2):
        cached = load_shard(url, 16000, str(tmp_path / "kept"))
        assert np.array_equal(cached.samples, fresh.samples)
        assert cached.speakers == fresh.speakers
    assert len(fresh) == 17


def test_another_pitch_is_another_speed():
    tone = np.sin(np.arange(16000) * 0.2).astype(np.float32)
    faster = change_pitch(tone, 1.25)
    assert len(faster) == 12800
    expected = np.sin(np.arange(12800) * 0.25)
    assert np.abs(faster[100:-100] - expected[100:-100]).max() < 0.02


def test_no_shard_is_an_error_that_shows_the_pattern(tmp_path: Path):
    with pytest.raises(ConfigError, match="nowhere"):
        list_shards(str(tmp_path / "nowhere" / "*.tar"))
