"""Where training starts: recipes, Whisper's weights, text branches, the full-size codec."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.support.training_case import (
    load_tiny,
    tiny_language_model,
    tiny_model,
    tiny_whisper,
    vocos_head,
)
from xy_codec.errors import CheckpointError
from xy_codec.training.batch import Batch
from xy_codec.training.codec_start import codec_config, start_codec
from xy_codec.training.pretrain_stage import PretrainStage
from xy_codec.training.ranks import Place
from xy_codec.training.recipe import TextConfig, load_recipe
from xy_codec.training.scaled_start import scale_start
from xy_codec.training.speech_batches import SpeechBatches
from xy_codec.training.spread_loss import spread_loss
from xy_codec.training.text_branch import CtcBranch, LanguageModelBranch
from xy_codec.training.training_codec import TrainingCodec, recompute_activations
from xy_codec.training.whisper_weights import from_transformers, load_whisper
from xy_codec.xy.config import CodecConfig, VocoderConfig
from xy_codec.xy.model import XYTokenizer
from xy_codec.xy.transformer import (
    Attention,
    Transformer,
    fused_attention,
    plain_attention,
)


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


def test_the_language_model_hears_through_the_papers_adapter():
    config = load_recipe("full_pretrain").text
    model = tiny_language_model()
    with torch.device("meta"):
        adapter = LanguageModelBranch(3072, model, Letters(), config).adapter
    shapes = {name: tuple(each.shape) for name, each in adapter.named_parameters()}
    assert shapes["proj.weight"] == (768, 3072)
    assert shapes["out_proj.weight"] == (16, 768)
    assert len(adapter.layers) == 4
    assert [each.num_heads for each in adapter.modules() if isinstance(each, Attention)] == 4 * [12]


class Letters:
    """The part of a tokenizer that the branch uses, one id per letter."""

    eos_token_id = 1

    def __call__(self, text: str) -> dict[str, list[int]]:
        return {"input_ids": [2 + ord(letter) % 60 for letter in text]}


def test_the_language_model_is_frozen_and_rows_get_gradients():
    model = tiny_language_model()
    small = TextConfig("llm", adapter_layers=1, adapter_width=8, adapter_heads=2)
    branch = LanguageModelBranch(8, model, Letters(), small).train()
    rows = torch.randn(3, 10, 8, requires_grad=True)
    frames, texts = torch.tensor([10, 4, 10]), ("hello", "yes", "")
    assert branch.count(texts, frames) == 6 + 4
    loss = branch(rows, frames, texts)
    alone = [branch(rows[n : n + 1], frames[n : n + 1], texts[n : n + 1]) for n in range(2)]
    torch.testing.assert_close(loss, sum(alone))
    loss.backward()
    assert rows.grad is not None
    assert rows.grad[:2].abs().sum() > 0
    assert rows.grad[2].abs().sum() == 0
    assert rows.grad[1, 4:].abs().sum() == 0
    assert all(each.grad is None for each in model.parameters())


@pytest.mark.slow
def test_the_full_width_takes_a_training_step_at_reduced_depth():
    settings = {"text.kind": "ctc", "precision": "float32", "speech.batch_clips": 2}
    settings |= {"codebooks.kmeans_iterations": 1}
    recipe = load_recipe("full_pretrain", settings)
    config = codec_config(recipe)
    vocos = config.vocos_kwargs
    assert isinstance(vocos, VocoderConfig)
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
        vocos_kwargs=replace(vocos, num_layers=1),
    )
    torch.manual_seed(0)
    stage = PretrainStage(TrainingCodec(XYTokenizer(small)), recipe, torch.device("cpu"))
    weight = vocos_head(stage.codec.model).out.weight
    before = weight.detach().clone()
    waves, lengths = 0.1 * torch.randn(2, 12 * 1280), torch.full((2,), 12 * 1280)
    found = stage.gradients([Batch(waves, lengths, ("one", "two"), (0, 1))], 0)
    stage.apply(0)
    assert found["asr"] > 0
    assert not torch.equal(before, weight)


def test_fused_attention_is_that_of_the_codec_with_equal_gradients():
    torch.manual_seed(0)
    valid = torch.arange(9) < torch.tensor([9, 5])[:, None]
    found = []
    parts = torch.randn(3, 2, 4, 9, 8)
    for attention in (plain_attention, fused_attention):
        inputs = query, key, value = [each.clone().requires_grad_() for each in parts]
        mixed = attention(query, key, value, valid)[:, :, :5]
        mixed.square().sum().backward()
        found.append([mixed.detach(), *(each.grad for each in inputs)])
    for plain, fused in zip(*found, strict=True):
        torch.testing.assert_close(fused, plain)


def test_activations_computed_again_need_less_memory():
    torch.manual_seed(0)
    stack = Transformer(16, 2, 64, num_layers=6, num_positions=50)
    steps, kept, gradients = torch.randn(2, 50, 16), [], []
    for again in (False, True):
        if again:
            recompute_activations(stack)
        sizes: list[int] = []

        def pack(tensor: torch.Tensor, sizes: list[int] = sizes) -> torch.Tensor:
            sizes.append(tensor.nbytes)
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            loss = stack(steps, None).square().sum()
        loss.backward()
        kept.append(sum(sizes))
        gradients.append(
            [each.grad.clone() for each in stack.parameters() if each.grad is not None]
        )
        stack.zero_grad()
    assert kept[1] < 0.2 * kept[0]
    assert all(map(torch.equal, *gradients))


@torch.no_grad()
def test_a_crop_of_a_whole_window_can_be_trained():
    codec = TrainingCodec(tiny_model())
    waves = 0.1 * torch.randn(1, 480_000, generator=torch.Generator().manual_seed(0))
    made = codec(waves, torch.tensor([480_000]), quantize=False)
    assert made.waves.shape == waves.shape
    assert made.latents.shape == (375, 8)


def test_a_scaled_start_makes_content_louder_than_positions(tmp_path: Path):
    recipe = load_tiny(tmp_path, model__scaled_start=True)
    plain = start_codec(recipe)
    scaled = start_codec(recipe)
    speech = SpeechBatches(recipe.speech, 16000, 1280, recipe.seed, Place())
    (batch,) = speech.next(0)
    speech.close()
    scale_start(scaled, batch, whisper=False)
    frames = -(-batch.lengths // 1280)
    spread = [codec.embed(batch.waves, frames).std() for codec in (plain, scaled)]
    assert spread[0] < 0.6
    assert spread[1].item() == pytest.approx(1.0, abs=0.1)


def test_a_scaled_start_leaves_whispers_encoders_alone(tmp_path: Path):
    recipe = load_tiny(tmp_path)
    codec = start_codec(recipe)
    before = {name: each.clone() for name, each in codec.model.named_parameters()}
    speech = SpeechBatches(recipe.speech, 16000, 1280, recipe.seed, Place())
    scale_start(codec, speech.next(0)[0], whisper=True)
    speech.close()
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
