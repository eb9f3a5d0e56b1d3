"""A codec of the real topology, small enough to train in a test, and a recipe for it."""

from pathlib import Path
from typing import Any

import torch
import yaml

from tests.support.places import SPEECH
from xy_codec.torchaudio_import import import_torchaudio
from xy_codec.training.recipe import Recipe, load_recipe
from xy_codec.xy.config import CodecConfig
from xy_codec.xy.model import XYTokenizer
from xy_codec.xy.vocoder import SpectrumHead, Vocoder

_STACK = {"encoder_layers": 1, "encoder_attention_heads": 2, "encoder_ffn_dim": 32}
_MEL = {"num_mel_bins": 80, "d_model": 16}
_ENCODER = {**_MEL, **_STACK}
_DECODER = {
    **_MEL,
    "decoder_layers": 1,
    "decoder_attention_heads": 2,
    "decoder_ffn_dim": 32,
}
TINY = {
    "sample_rate": 16000,
    "semantic_encoder_kwargs": _ENCODER,
    "acoustic_encoder_kwargs": _ENCODER,
    "semantic_encoder_adapter_kwargs": {
        "input_dim": 16, "output_dim": 16, "d_model": 16, "max_source_positions": 1500, **_STACK
    },
    "pre_rvq_adapter_kwargs": {
        "input_dim": 32, "output_dim": 16, "d_model": 16, "max_source_positions": 1500, **_STACK
    },
    "downsample_kwargs": {"d_model": 16},
    "quantizer_kwargs": {
        "input_dim": 64, "rvq_dim": 8, "output_dim": 64,
        "num_quantizers": 4, "codebook_size": 16, "codebook_dim": 8,
    },
    "post_rvq_adapter_kwargs": {
        "input_dim": 64, "output_dim": 64, "d_model": 16, "max_source_positions": 375, **_STACK
    },
    "upsample_kwargs": {"d_model": 16},
    "acoustic_decoder_kwargs": _DECODER,
    "vocos_kwargs": {
        "input_channels": 80, "dim": 16, "intermediate_dim": 32,
        "num_layers": 1, "n_fft": 640, "hop_size": 160,
    },
}  # fmt: skip


def tiny_model() -> XYTokenizer:
    """The tiny codec, randomly initialised."""
    return XYTokenizer(CodecConfig.from_mapping(TINY))


def vocos_head(model: XYTokenizer) -> SpectrumHead:
    """The last layer of a codec that has Vocos."""
    assert isinstance(model.vocos, Vocoder)
    return model.vocos.head


def tiny_recipe(folder: Path, stage: str = "pretrain", **overrides: Any) -> Path:
    """Write a recipe and its codec into a folder; return the recipe's path."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "codec.yaml").write_text(yaml.safe_dump({"generator_params": TINY}))
    recipe = {
        "stage": stage,
        "steps": 6,
        "threads": 1,
        "log_every": 1,
        "evaluate_every": 1000,
        "save_every": 1000,
        "speech": {
            "shards": str(SPEECH / "Emilia/*/*.tar"),
            "crop_seconds": 0.64,
            "batch_clips": 2,
            "read": "draw",
            "cache": str(folder / "cache"),
            "pitches": [0.9, 1.0],
            "gain_db": [-20, -1],
            "filter_chance": 0.5,
        },
        "model": {"codec": str(folder / "codec.yaml")},
        "optimizer": {"learning_rate": 1e-3, "warmup_steps": 2},
        "codebooks": {"start_step": 2, "dead_share": 0.1},
        "losses": {"spectral": {"windows": [256], "num_mels": [20], "log": True}},
        "discriminators": {
            "periods": [2], "period_width": 2, "num_scales": 1, "scale_width": 2,
            "stft_windows": [256], "stft_width": 4,
        },
    }  # fmt: skip
    for name, value in overrides.items():
        *parents, leaf = name.split("__")
        place: Any = recipe
        for parent in parents:
            place = place.setdefault(parent, {})
        place[leaf] = value
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe))
    return path


def tiny_language_model() -> Any:
    """A language model of a real class with random weights."""
    import_torchaudio()
    from transformers import Qwen2Config, Qwen2ForCausalLM

    torch.manual_seed(0)
    return Qwen2ForCausalLM(
        Qwen2Config(
            hidden_size=16, intermediate_size=32, num_hidden_layers=1, vocab_size=300,
            num_attention_heads=2, num_key_value_heads=1,
        )
    )  # fmt: skip


def tiny_whisper(width: int = 16, layers: int = 2) -> Any:
    """A Whisper of its real class with random weights."""
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


def save_language_model(folder: Path) -> str:
    """A folder as language models are released in, with a tokenizer of bytes."""
    import_torchaudio()
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = Tokenizer(models.BPE({each: number for number, each in enumerate(letters)}, []))
    words.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    words.decoder = decoders.ByteLevel()
    words.add_special_tokens(["<end>"])
    PreTrainedTokenizerFast(tokenizer_object=words, eos_token="<end>").save_pretrained(folder)
    tiny_language_model().save_pretrained(folder)
    return str(folder)


def load_tiny(folder: Path, stage: str = "pretrain", **overrides: Any) -> Recipe:
    """The recipe of `tiny_recipe`, loaded."""
    return load_recipe(tiny_recipe(folder, stage, **overrides))
