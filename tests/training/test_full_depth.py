"""Steps of the full recipes at full depth, on tensors without values: no weights, no arithmetic.

What shapes and types do not agree shows here; what the numbers would be does not.
"""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.symbolic_shapes import ShapeEnv

from xy_codec.torchaudio_import import import_torchaudio
from xy_codec.training.adversarial_loss import adversarial_loss, discriminator_loss, feature_loss
from xy_codec.training.codec_start import codec_config
from xy_codec.training.discriminator import Discriminators
from xy_codec.training.posttrain_stage import Reconstructing
from xy_codec.training.pretrain_stage import CodecWithText
from xy_codec.training.recipe import Recipe, load_recipe
from xy_codec.training.spectral_loss import SpectralLoss
from xy_codec.training.stage import Learner, autocast
from xy_codec.training.training_codec import TrainingCodec
from xy_codec.xy.model import XYTokenizer

CPU = torch.device("cpu")
CODECS = ("xy_full", "xy_full_hifigan", "xy_full_seanet")


@pytest.fixture
def without_values() -> Iterator[None]:
    # The length of a single clip is known in this mode, so nothing depends on values.
    with FakeTensorMode(shape_env=ShapeEnv()):
        yield


@pytest.fixture
def published_language_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """Qwen2.5-0.5B by its sizes, in place of its download; any tokenizer does."""
    import_torchaudio()
    from transformers import AutoModelForCausalLM, AutoTokenizer, Qwen2Config

    sizes = Qwen2Config(
        hidden_size=896, intermediate_size=4864, num_hidden_layers=24, num_attention_heads=14,
        num_key_value_heads=2, vocab_size=151936, tie_word_embeddings=True,
    )  # fmt: skip

    class Bytes:
        eos_token_id = 0

        def __call__(self, text: str) -> dict[str, list[int]]:
            return {"input_ids": list(text.encode())}

    def build(_name: str, dtype: Any = torch.bfloat16) -> Any:
        return AutoModelForCausalLM.from_config(sizes, dtype=dtype)

    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", build)
    monkeypatch.setattr(AutoTokenizer, "from_pretrained", lambda _: Bytes())


def full_codec(recipe: Recipe) -> TrainingCodec:
    codec = TrainingCodec(XYTokenizer(codec_config(recipe)))
    codec.model.semantic_encoder.requires_grad_(False)
    return codec


def take_step(module: torch.nn.Module, loss: torch.Tensor, recipe: Recipe) -> None:
    loss.backward()
    trained = [each for each in module.parameters() if each.requires_grad]
    assert all(each.grad is not None for each in trained)
    Learner([(trained, 1.0)], recipe.optimizer, recipe.steps).optimizer.step()


@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, {"text.trainable": True}])
@pytest.mark.usefixtures("published_language_model", "without_values")
def test_a_pretraining_step_of_30_seconds_fits_together_at_full_depth(options: dict[str, Any]):
    recipe = load_recipe("full_pretrain", options)
    model = CodecWithText(full_codec(recipe), recipe)
    waves = torch.randn(1, int(recipe.speech.crop_seconds * 16000))
    with autocast(recipe.precision, CPU):
        losses, latents, indices = model(
            waves, torch.tensor([waves.shape[1]]), ("what was said",), quantize=True
        )
    assert set(losses) == {"recon", "commit", "asr"}
    assert latents.shape == (375, 512)
    assert indices is not None
    assert indices.shape == (8, 375)
    take_step(model, sum((each.sum() for each in losses.values()), torch.zeros(())), recipe)


@pytest.mark.slow
@pytest.mark.parametrize("name", CODECS)
@pytest.mark.usefixtures("without_values")
def test_a_posttraining_step_fits_together_at_full_depth(name: str):
    recipe = load_recipe("full_posttrain", {"model.codec": name})
    codec = full_codec(recipe)
    codec.requires_grad_(False)
    for each in codec.decoder_parameters():
        each.requires_grad_(True)
    judges = Discriminators(recipe.discriminators)
    waves = torch.randn(1, int(recipe.speech.crop_seconds * 16000) // 1280 * 1280)
    with autocast(recipe.precision, CPU):
        made = Reconstructing(codec)(waves, torch.tensor([waves.shape[1]]))
        take_step(judges, discriminator_loss(judges(waves), judges(made.detach())).sum(), recipe)
        real, fake = judges(waves), judges(made)
        loss = adversarial_loss(fake).sum() + feature_loss(real, fake).sum()
    loss = loss + SpectralLoss(recipe.losses.spectral, 16000)(made, waves).sum()
    take_step(codec, loss, recipe)
