"""Where training starts: recipes, Whisper's weights, text branches, the full-size codec."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.support.training_case import load_tiny, tiny_model
from xy_codec.errors import CheckpointError
from xy_codec.torchaudio_import import import_torchaudio
from xy_codec.training.batch import Batch
from xy_codec.training.codec_start import codec_config, start_codec
from xy_codec.training.pretrain_stage import PretrainStage
from xy_codec.training.recipe import CodebookRule, load_recipe
from xy_codec.training.scaled_start import scale_start
from xy_codec.training.speech_stream import Place, SpeechStream
from xy_codec.training.spread_loss import spread_loss
from xy_codec.training.text_branch import CtcBranch, LanguageModelBranch
from xy_codec.training.training_codec import TrainingCodec
from xy_codec.training.whisper_weights import from_transformers, load_whisper
from xy_codec.xy.config import CodecConfig
from xy_codec.xy.model import XYTokenizer


def tiny_whisper(width: int = 16, layers: int = 2):
    import_torchaudio()
    from transformers import WhisperConfig, WhisperModel

    torch.manual_seed(0)
    return WhisperModel(
        WhisperConfig(
            d_model=width, encoder_layers=layers, decoder_layers=1,
            encoder_attention_heads=2, decoder_attention_heads=2,
            encoder_ffn_dim=32, decoder_ffn_dim=32, vocab_size=64,
            pad_token_id=0, bos_token_id=1, eos_token_id=2, decoder_start_token_id=1,
        )
    ).eval()  # fmt: skip


def test_the_full_recipe_describes_the_published_codec():
    with torch.device("meta"):
        model = XYTokenizer(codec_config(load_recipe("full_pretrain")))
    assert sum(each.numel() for each in model.parameters()) == 519_621_074


def test_the_encoder_is_whispers_when_it_starts_from_it():
    whisper, encoder = tiny_whisper(), tiny_model().semantic_encoder
    state = from_transformers(whisper)
    one_layer = {**whisper.config.to_dict(), "encoder_layers": 1}
    load_whisper(encoder, state)
    whisper.encoder.layers = whisper.encoder.layers[: one_layer["encoder_layers"]]
    mel = torch.randn(1, 3000, 80, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        theirs = whisper.encoder(mel.transpose(1, 2)).last_hidden_state
        ours = encoder(mel, None)
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)


def test_a_whisper_of_another_width_is_refused():
    with pytest.raises(CheckpointError, match="width 16"):
        load_whisper(tiny_model().acoustic_encoder, from_transformers(tiny_whisper(32)))


def test_ctc_learns_to_read_rows():
    torch.manual_seed(0)
    branch, rows = CtcBranch(8), torch.randn(2, 10, 8)
    optimizer = torch.optim.Adam(branch.parameters(), 0.02)
    frames, texts = torch.tensor([10, 6]), ("hello", "no")
    values = []
    for _ in range(30):
        loss = branch(rows, frames, texts)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        values.append(float(loss.detach()))
    assert values[-1] < 0.3 * values[0]
    assert branch(rows, frames, ("", "")) == 0


class Letters:
    """The part of a tokenizer that the branch uses, one id per letter."""

    eos_token_id = 1

    def __call__(self, text: str) -> dict[str, list[int]]:
        return {"input_ids": [2 + ord(letter) % 60 for letter in text]}


def test_the_language_model_is_frozen_and_rows_get_gradients():
    import_torchaudio()
    from transformers import Qwen2Config, Qwen2ForCausalLM

    torch.manual_seed(0)
    model = Qwen2ForCausalLM(
        Qwen2Config(
            hidden_size=16, intermediate_size=32, num_hidden_layers=1,
            num_attention_heads=2, num_key_value_heads=1, vocab_size=64,
        )
    )  # fmt: skip
    branch = LanguageModelBranch(8, model, Letters()).train()
    rows = torch.randn(3, 10, 8, requires_grad=True)
    branch(rows, torch.tensor([10, 4, 10]), ("hello", "yes", "")).backward()
    assert rows.grad is not None
    assert rows.grad[:2].abs().sum() > 0
    assert rows.grad[2].abs().sum() == 0
    assert rows.grad[1, 4:].abs().sum() == 0
    assert all(each.grad is None for each in model.parameters())


@pytest.mark.slow
def test_the_full_width_takes_a_training_step_at_reduced_depth():
    recipe = load_recipe("full_pretrain", {"text.kind": "ctc", "precision": "float32"})
    config = codec_config(recipe)
    shallow = {
        name: replace(getattr(config, name), encoder_layers=1)
        for name in (
            "semantic_encoder_kwargs", "semantic_encoder_adapter_kwargs", "acoustic_encoder_kwargs",
            "pre_rvq_adapter_kwargs", "post_rvq_adapter_kwargs",
        )
    }  # fmt: skip
    small: CodecConfig = replace(
        config,
        **shallow,
        acoustic_decoder_kwargs=replace(config.acoustic_decoder_kwargs, decoder_layers=1),
        vocos_kwargs=replace(config.vocos_kwargs, num_layers=1),
    )
    torch.manual_seed(0)
    rule = CodebookRule(expected_vectors=24, kmeans_iterations=1)
    stage = PretrainStage(
        TrainingCodec(XYTokenizer(small), rule, seed=0), recipe, torch.device("cpu")
    )
    weight = stage.codec.model.vocos.head.out.weight
    assert weight is not None
    before = weight.detach().clone()
    batch = Batch(0.1 * torch.randn(2, 12 * 1280), torch.full((2,), 12 * 1280), ("one", "two"))
    found = stage.step([batch], 0)
    assert found["asr"] > 0
    assert not torch.equal(before, weight)


@torch.no_grad()
def test_a_crop_of_a_whole_window_can_be_trained():
    codec = TrainingCodec(tiny_model(), CodebookRule(), seed=0)
    waves = 0.1 * torch.randn(1, 480_000, generator=torch.Generator().manual_seed(0))
    made = codec(waves, torch.tensor([480_000]), quantize=False)
    assert made.waves.shape == waves.shape
    assert made.latents.shape == (375, 8)


def test_a_scaled_start_makes_content_louder_than_positions(tmp_path: Path):
    recipe = load_tiny(tmp_path, model__scaled_start=True)
    plain = start_codec(recipe, 16.0)
    scaled = start_codec(recipe, 16.0)
    stream = SpeechStream(recipe.speech, 16000, 1280, recipe.seed, Place())
    batch = stream.batch(0)
    stream.close()
    scale_start(scaled, batch, whisper=False)
    frames = -(-batch.lengths // 1280)
    spread = [codec.embed(batch.waves, frames).std() for codec in (plain, scaled)]
    assert spread[0] < 0.6
    assert spread[1].item() == pytest.approx(1.0, abs=0.1)


def test_a_scaled_start_leaves_whispers_encoders_alone(tmp_path: Path):
    recipe = load_tiny(tmp_path)
    codec = start_codec(recipe, 16.0)
    before = {name: each.clone() for name, each in codec.model.named_parameters()}
    stream = SpeechStream(recipe.speech, 16000, 1280, recipe.seed, Place())
    scale_start(codec, stream.batch(0), whisper=True)
    stream.close()
    kept = {name for name, each in codec.model.named_parameters() if each.equal(before[name])}
    encoders = {
        name for name in before if name.startswith(("semantic_encoder.", "acoustic_encoder."))
    }
    assert encoders <= kept
    assert "upsample.up_conv.weight" not in kept


def test_latents_that_use_all_directions_lose_nothing():
    torch.manual_seed(0)
    even = torch.randn(5000, 8)
    few = even * torch.tensor([3.0, 1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1])
    assert spread_loss(even).abs() < 0.1
    assert spread_loss(few) > 1.0
    assert spread_loss(10 * few).item() == pytest.approx(spread_loss(few).item(), rel=1e-3)
    few.requires_grad_(True)
    spread_loss(few).backward()
    assert few.grad is not None
    # A step down the gradient widens the narrow directions.
    assert spread_loss(few - 1e3 * few.grad) < spread_loss(few)
