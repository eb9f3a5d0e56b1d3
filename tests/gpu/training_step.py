"""Stage 4, second half: steps of the published pre-training recipe, from random weights."""

import tempfile
import time
import traceback
from contextlib import suppress
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
import yaml
from torch import nn

from tests.gpu.models import FoundGroup, Models, emilia_clips
from tests.gpu.record import Record
from tests.gpu.stand_ins import fill_in

_STEPS = 4
_TEXT = "a sentence that takes as long to say as its clip is"
# The sizes of Qwen2.5-0.5B, and a tiny model for a trial.
_LANGUAGE_MODEL = {
    "vocab_size": 151936, "hidden_size": 896, "intermediate_size": 4864, "num_hidden_layers": 24,
    "num_attention_heads": 14, "num_key_value_heads": 2, "tie_word_embeddings": True,
}  # fmt: skip
_TINY_LANGUAGE_MODEL = {
    "vocab_size": 300, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1,
    "num_attention_heads": 2, "num_key_value_heads": 1, "tie_word_embeddings": True,
}  # fmt: skip
_VARIANTS = (
    ("bfloat16", "llm"),
    ("bfloat16", "none"),
    ("float32", "llm"),
    ("bfloat16", "ctc"),
)


def run(record: Record, models: Models) -> None:
    """The recipe as it is; simpler variants tell where an error of the one before comes from."""
    if fill_in():
        record.note("a stand-in for pydantic: the recipe's values were not checked")
    for precision, text in _VARIANTS:
        name = f"{precision}.{text}"
        try:
            record.put(name, train(models, precision, text))
        except Exception as error:
            lines = traceback.format_exc().splitlines()[-6:]
            record.put(name, {"error": f"{type(error).__name__}: {error}"[:300], "lines": lines})
        if models.device.type == "cuda":
            torch.cuda.empty_cache()


def train(models: Models, precision: str, text: str) -> dict[str, Any]:
    """A step that starts the codebooks, then a few that are timed."""
    # Imported here: the stand-ins have to be in place.
    from xy_codec.training.batch import Batch
    from xy_codec.training.codec_start import start_codec
    from xy_codec.training.pretrain_stage import PretrainStage
    from xy_codec.training.recipe import load_recipe

    with tempfile.TemporaryDirectory() as folder:
        settings = {"precision": precision, "speech.batch_clips": 4, "speech.streams": 4}
        settings |= {"model.whisper": "", "text.kind": text}
        if models.is_small:
            settings |= {"model.codec": _small_codec(Path(folder)), "speech.crop_seconds": 2.56}
            settings |= {"speech.batch_clips": 2, "speech.streams": 2}
        recipe = load_recipe("full_pretrain", settings)
        speech = recipe.speech
        frames = int(speech.crop_seconds * 12.5)
        codec = start_codec(recipe).to(models.device)
    if text == "llm":  # as the recipe has it, but untrained instead of downloaded
        width = codec.model.config.quantizer_kwargs.output_dim
        branch = _language_model_branch(models, width, recipe.text)
        with patch(f"{PretrainStage.__module__}.build_text_branch", return_value=branch):
            stage = PretrainStage(codec, recipe, models.device)
    else:
        stage = PretrainStage(codec, recipe, models.device)
    batch = Batch(*_batch(speech.batch_clips, frames * 1280), tuple(range(speech.batch_clips)))
    losses, seconds = {}, []
    for number in range(1 if models.is_small else _STEPS):
        started = time.perf_counter()
        losses = stage.gradients([batch], number)
        losses |= stage.apply(number)  # reads the norm, so the device has ended
        seconds.append(time.perf_counter() - started)
    timed = seconds[1:] or seconds
    audio = speech.batch_clips * frames * 0.08
    on_gpu = models.device.type == "cuda"
    return {
        "audio_seconds_per_second": audio / float(np.median(timed)),
        "first_step_seconds": seconds[0],
        "step_seconds": timed,
        "losses": losses,
        "finite": bool(np.isfinite(list(losses.values())).all()),
        "peak_memory_gib": torch.cuda.max_memory_allocated() / 2**30 if on_gpu else None,
    }


def _small_codec(folder: Path) -> str:
    path = folder / "codec.yaml"
    path.write_text(yaml.safe_dump({"generator_params": FoundGroup("small_xy").info["params"]}))
    return str(path)


def _batch(clips: int, samples: int) -> tuple[torch.Tensor, torch.Tensor, tuple[str, ...]]:
    voices = emilia_clips(clips)
    waves = np.stack([np.resize(voice, samples) for voice in voices])
    return torch.from_numpy(waves), torch.full((clips,), samples), (_TEXT,) * clips


class _Letters:
    """A tokenizer whose tokens are the bytes of the text."""

    eos_token_id = 0

    def __call__(self, text: str) -> dict[str, list[int]]:
        return {"input_ids": list(text.encode())}


def _language_model_branch(models: Models, width: int, config: Any) -> nn.Module:
    """The paper's text branch around a language model of the published size, untrained."""
    from xy_codec.torchaudio_import import import_torchaudio
    from xy_codec.training.text_branch import LanguageModelBranch

    with suppress(ImportError):
        import_torchaudio()  # transformers imports it too, and fails where it is there in part only
    from transformers import Qwen2Config, Qwen2ForCausalLM

    sizes = _TINY_LANGUAGE_MODEL if models.is_small else _LANGUAGE_MODEL
    with torch.device(models.device):
        model = Qwen2ForCausalLM(Qwen2Config(**sizes)).to(torch.bfloat16)
    return LanguageModelBranch(width, model, _Letters(), config)
