"""Folders of codecs with random weights: real classes, kernels and strides, at small widths.

`MAKERS` has one maker for every codec that `xy_codec.hub` adapts; it writes a folder as a release
lies on disk, of some hundred kilobytes. The codes mean nothing, but they depend on the audio, so
that every promise of the contract can be tried on them.
"""

import json
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from xy_codec.hub.packages import import_model
from xy_codec.hub.speechtokenizer.loading import speech_tokenizer_class
from xy_codec.torchaudio_import import import_torchaudio

_HUBERT = {
    "model_type": "hubert",
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "conv_dim": [8] * 7,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 2,
}
_W2V_BERT = {
    "model_type": "wav2vec2-bert",
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "output_hidden_size": 16,
}
_ACOUSTIC = {
    "model_type": "dac",
    "encoder_hidden_size": 4,
    "decoder_hidden_size": 32,
    "hidden_size": 16,
}
_HIGGS_RATIOS = {"downsampling_ratios": [8, 5, 4, 2, 3], "upsampling_ratios": [8, 5, 4, 2, 3]}
_TWO_BRANCHES = {
    "hidden_size": 64,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "encoder_hidden_size": 4,
    "quantization_dim": 80,
    "semantic_model_config": _W2V_BERT,
}
_VOCOS = {
    "decoder_hidden_size": 32,
    "decoder_intermediate_size": 64,
    "decoder_num_layers": 2,
    "decoder_attention_num_groups": 4,
}


@dataclass(frozen=True, slots=True)
class TinyClass:
    """A class of transformers at small widths, and the settings of its feature extractor.

    `gain` is the size of what comes to the codebooks, see `spread_codes`.
    """

    config: dict[str, Any]
    extractor: str
    extractor_settings: dict[str, Any]
    gain: float = 1.0


TRANSFORMERS = {
    "dac": TinyClass(
        {
            "encoder_hidden_size": 4,
            "decoder_hidden_size": 32,
            "downsampling_ratios": [2, 4, 5, 8],
            "n_codebooks": 12,
            "codebook_dim": 4,
        },
        "DacFeatureExtractor",
        {"sampling_rate": 16000, "hop_length": 320},
    ),
    "encodec": TinyClass(
        {"num_filters": 4, "hidden_size": 16, "target_bandwidths": [1.5, 3.0, 6.0]},
        "EncodecFeatureExtractor",
        {"sampling_rate": 24000},
        gain=0.0009,
    ),
    "mimi": TinyClass(
        {
            "num_filters": 4,
            "hidden_size": 32,
            "vector_quantization_hidden_dimension": 16,
            "codebook_dim": 16,
            "num_quantizers": 8,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_key_value_heads": 2,
            "intermediate_size": 64,
            "head_dim": 16,
            "upsample_groups": 32,
        },
        "EncodecFeatureExtractor",
        {"sampling_rate": 24000},
        gain=3,
    ),
    "xcodec": TinyClass(
        {"acoustic_model_config": _ACOUSTIC, "semantic_model_config": _HUBERT},
        "DacFeatureExtractor",
        {"sampling_rate": 16000, "hop_length": 320},
    ),
    "xcodec2": TinyClass(_TWO_BRANCHES, "Xcodec2FeatureExtractor", {}, gain=2000),
    "neucodec": TinyClass(_TWO_BRANCHES, "NeuCodecFeatureExtractor", {}, gain=4000),
    "wavtokenizer": TinyClass(
        {"num_filters": 4, "hidden_size": 16, "codebook_dim": 16, "codebook_size": 512} | _VOCOS,
        "WavTokenizerFeatureExtractor",
        {},
        gain=0.0006,
    ),
    "higgs_audio_v2_tokenizer": TinyClass(
        {
            "target_bandwidths": [0.5, 1, 1.5, 2],
            "acoustic_model_config": _ACOUSTIC | _HIGGS_RATIOS,
            "semantic_model_config": _HUBERT,
        },
        "DacFeatureExtractor",
        {"sampling_rate": 24000, "hop_length": 960},
        gain=0.09,
    ),
}

SNAC = {
    "sampling_rate": 24000,
    "encoder_dim": 4,
    "encoder_rates": [2, 4, 8, 8],
    "decoder_dim": 32,
    "decoder_rates": [8, 8, 4, 2],
    "attn_window_size": None,
    "codebook_size": 4096,
    "codebook_dim": 8,
    "vq_strides": [4, 2, 1],
    "noise": True,
    "depthwise": True,
}
SPEECH_TOKENIZER = {
    "n_filters": 4,
    "dimension": 32,
    "strides": [8, 5, 4, 2],
    "lstm_layers": 2,
    "bidirectional": True,
    "dilation_base": 2,
    "residual_kernel_size": 3,
    "n_residual_layers": 1,
    "activation": "ELU",
    "sample_rate": 16000,
    "n_q": 8,
    "semantic_dimension": 16,
    "codebook_size": 1024,
}


def make_transformers(
    model_type: str, folder: Path, seed: int = 0, sizes: dict[str, Any] | None = None
) -> Path:
    """Save a class with random weights and its extractor; `sizes` instead of the small ones."""
    tiny = TRANSFORMERS[model_type]
    with quiet_transformers() as transformers:
        torch.manual_seed(seed)
        values = tiny.config if sizes is None else sizes
        config = transformers.AutoConfig.for_model(model_type, **values)
        model = transformers.AutoModel.from_config(config)
        spread_codes(model, tiny.gain)
        model.save_pretrained(folder)
        settings = {"feature_size": 1} if tiny.extractor_settings else {}
        extractor = getattr(transformers, tiny.extractor)
        extractor(**settings, **tiny.extractor_settings).save_pretrained(folder)
    return folder


def make_snac(folder: Path, seed: int = 0, sizes: dict[str, Any] | None = None) -> Path:
    """Save a SNAC with random weights as its release lies on disk."""
    config = SNAC | (sizes or {})
    with quiet_packages():
        torch.manual_seed(seed)
        model = import_model("snac", "snac", "codecs").SNAC(**config)
        spread_codes(model, 1.0)
        return _save(model, config, folder, "pytorch_model.bin")


def make_speech_tokenizer(folder: Path, seed: int = 0, sizes: dict[str, Any] | None = None) -> Path:
    """Save a SpeechTokenizer with random weights as its release lies on disk."""
    config = SPEECH_TOKENIZER | (sizes or {})
    with quiet_packages():
        torch.manual_seed(seed)
        model = speech_tokenizer_class()(config)
        spread_codes(model, 0.0005)
        return _save(model, config, folder, "SpeechTokenizer.pt")


MAKERS: dict[str, Callable[..., Path]] = {
    **{name: partial(make_transformers, name) for name in TRANSFORMERS},
    "snac": make_snac,
    "speechtokenizer": make_speech_tokenizer,
}


def spread_codes(model: nn.Module, gain: float) -> None:
    """Let codes depend on the audio: no biases, and codebooks as large as what comes to them.

    Where levels take the place of codebooks, the layer before them reaches all levels.
    """
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "bias" in name:
                weight.zero_()
            elif name == "fc_encoder.weight":
                weight.mul_(gain)
        for name, buffer in model.named_buffers():
            if name.endswith((".embed", ".embed_sum")):
                buffer.normal_(0, gain)
            elif name.endswith(".inited"):
                buffer.fill_(1)


def _save(model: nn.Module, config: dict[str, Any], folder: Path, weights: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    torch.save(model.state_dict(), folder / weights)
    return folder


@contextmanager
def quiet_packages() -> Iterator[None]:
    """Warnings are errors in tests, and these packages use what torch has deprecated."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextmanager
def quiet_transformers() -> Iterator[Any]:
    """transformers, importable beside a CPU torch, without its warnings and progress bars."""
    import_torchaudio()
    with quiet_packages():
        import transformers

        transformers.utils.logging.disable_progress_bar()
        transformers.utils.logging.set_verbosity_error()
        yield transformers
