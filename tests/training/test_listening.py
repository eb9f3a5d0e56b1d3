"""Frozen networks that listen to reconstructions: what they compare, and that training obeys."""

from pathlib import Path
from typing import Any

import librosa
import numpy as np
import pytest
import torch

from tests.support.training_case import TINY, load_tiny, tiny_model, tiny_whisper
from xy_codec.errors import CheckpointError, ConfigError
from xy_codec.training.listening_losses import ListeningLosses
from xy_codec.training.recipe import LossConfig
from xy_codec.training.recogniser_features import RecogniserFeatures, load_recogniser
from xy_codec.training.speaker_features import (
    SLICE_SAMPLES,
    SpeakerEncoder,
    SpeakerFeatures,
    load_speaker_encoder,
)
from xy_codec.training.trainer import Trainer
from xy_codec.xy.config import CodecConfig, MelConfig


def waves(seed: int = 0, samples: int = 2 * SLICE_SAMPLES) -> torch.Tensor:
    return 0.1 * torch.randn(2, samples, generator=torch.Generator().manual_seed(seed))


def recogniser() -> RecogniserFeatures:
    torch.manual_seed(0)
    return RecogniserFeatures(tiny_model().semantic_encoder, MelConfig())


@torch.no_grad()
def random_voices() -> SpeakerEncoder:
    """An encoder that hears something: mel power at its level is of the order of 1e-4."""
    torch.manual_seed(0)
    encoder = SpeakerEncoder(8, 2)
    encoder.lstm.get_parameter("weight_ih_l0").mul_(3000)
    return encoder


def speaker_encoder(folder: Path) -> str:
    """A file as the package Resemblyzer has it, with random weights."""
    state = {
        **random_voices().state_dict(),
        "similarity_weight": torch.ones(1),
        "similarity_bias": torch.ones(1),
    }
    torch.save({"step": 1, "model_state": state}, folder / "pretrained.pt")
    return str(folder / "pretrained.pt")


def whisper(folder: Path) -> str:
    tiny_whisper(layers=2).save_pretrained(folder / "whisper")
    return str(folder / "whisper")


@pytest.fixture(params=["recogniser", "speaker"])
def features(request: pytest.FixtureRequest) -> torch.nn.Module:
    return recogniser() if request.param == "recogniser" else SpeakerFeatures(random_voices())


def test_equal_waves_sound_equal_and_others_do_not(features: torch.nn.Module):
    lengths = torch.full((2,), 2 * SLICE_SAMPLES)
    assert features(waves(), waves(), lengths).abs().max() < 1e-5
    assert (features(waves(1) ** 3, waves(), lengths) > 1e-4).all()


def test_what_follows_a_clip_is_not_heard(features: torch.nn.Module):
    lengths = torch.tensor([SLICE_SAMPLES, 2 * SLICE_SAMPLES])
    made = waves(1)
    changed = made.clone()
    changed[0, SLICE_SAMPLES + 800 :] *= 0.5
    torch.testing.assert_close(
        features(made, waves(), lengths), features(changed, waves(), lengths)
    )


def test_a_clip_sounds_the_same_whatever_its_company(features: torch.nn.Module):
    lengths = torch.tensor([2 * SLICE_SAMPLES, 2 * SLICE_SAMPLES])
    both = features(waves(1), waves(), lengths)
    for number in range(2):
        one = slice(number, number + 1)
        alone = features(waves(1)[one], waves()[one], lengths[one])
        torch.testing.assert_close(alone, both[one])


def test_the_reconstruction_gets_gradients_and_the_network_none(features: torch.nn.Module):
    made = waves(1).requires_grad_()
    features(made, waves(), torch.full((2,), 2 * SLICE_SAMPLES)).sum().backward()
    assert made.grad is not None
    assert (made.grad.abs().sum(1) > 0).all()
    assert all(each.grad is None for each in features.parameters())


def test_the_recogniser_hears_what_the_codecs_encoder_does():
    features = recogniser()
    wave, tokens = waves(samples=16000), torch.tensor([50, 50])
    expected = features.encoder(features.mel(wave), tokens)
    torch.testing.assert_close(features.hidden(wave, tokens)[-1], expected)


def test_all_layers_of_a_whisper_listen(tmp_path: Path):
    config = CodecConfig.from_mapping(TINY)
    found = load_recogniser(whisper(tmp_path), config.semantic_encoder_kwargs, MelConfig())
    assert len(found.encoder.layers) == 2
    assert config.semantic_encoder_kwargs.encoder_layers == 1


def test_voices_are_embedded_from_the_mel_power_that_librosa_computes(tmp_path: Path):
    encoder = load_speaker_encoder(speaker_encoder(tmp_path)).encoder
    wave = waves(samples=SLICE_SAMPLES)[0].numpy()
    mel = librosa.feature.melspectrogram(y=wave, sr=16000, n_fft=400, hop_length=160, n_mels=40)
    steps, _ = encoder.lstm(torch.from_numpy(np.ascontiguousarray(mel.T))[None])
    expected = encoder.linear(steps[:, -1]).relu()
    made = encoder(torch.from_numpy(wave)[None])
    torch.testing.assert_close(made, expected / expected.norm(), rtol=1e-4, atol=1e-5)


def test_a_voice_is_the_same_at_any_level_and_short_clips_have_none(tmp_path: Path):
    features = load_speaker_encoder(speaker_encoder(tmp_path))
    lengths = torch.tensor([2 * SLICE_SAMPLES, SLICE_SAMPLES - 1])
    found = features(waves(1), waves(), lengths)
    assert found[0] > 1e-4
    assert found[1] == 0
    torch.testing.assert_close(features(0.1 * waves(1), 0.1 * waves(), lengths), found)
    assert features(waves(1), waves(), lengths // 4).tolist() == [0, 0]


def test_files_that_are_no_speaker_encoder_are_refused(tmp_path: Path):
    with pytest.raises(CheckpointError, match=r"speaker_encoder.*none\.pt"):
        load_speaker_encoder(str(tmp_path / "none.pt"))
    torch.save({"weight": torch.ones(1)}, tmp_path / "other.pt")
    with pytest.raises(CheckpointError, match="holds"):
        load_speaker_encoder(str(tmp_path / "other.pt"))


def test_a_weight_without_its_network_is_refused(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"losses\.recogniser` is empty"):
        load_tiny(tmp_path, losses__recogniser_features=1)
    with pytest.raises(ConfigError, match=r"losses\.speaker_encoder` is empty"):
        load_tiny(tmp_path, losses__speaker_features=1)


def test_nothing_listens_unless_the_recipe_says_so():
    losses = ListeningLosses(LossConfig(), CodecConfig.from_mapping(TINY))
    assert losses(waves(1), waves(), torch.full((2,), 2 * SLICE_SAMPLES)) == {}


@pytest.mark.parametrize("stage", ["pretrain", "posttrain"])
def test_both_stages_learn_from_what_is_heard(tmp_path: Path, stage: str):
    options: dict[str, Any] = {
        "losses__recogniser": whisper(tmp_path),
        "losses__speaker_encoder": speaker_encoder(tmp_path),
        "speech__crop_seconds": 1.92,
        "codebooks__start_step": 0,
    }
    curves = []
    for weight in (0.0, 3.0):
        options |= {"losses__recogniser_features": weight, "losses__speaker_features": weight}
        trainer = Trainer(load_tiny(tmp_path, stage, **options), tmp_path / f"run{weight}")
        curves.append([trainer.take_step() for _ in range(2)])
    plain, heard = curves
    added = 3 * (heard[0]["recogniser_features"] + heard[0]["speaker_features"])
    assert added > 0
    assert heard[0]["loss"] == pytest.approx(plain[0]["loss"] + added, rel=1e-4)
    assert heard[1]["recon"] != plain[1]["recon"]
