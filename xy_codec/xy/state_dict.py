"""XY-Tokenizer's weights: the key names of every release, brought to those of the modules.

A safetensors file whose header says `format: xytok-inference` may be in float16 and may leave out
what can be recomputed: positional tables, the window of the inverse STFT and the quantiser's
training buffers.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from xy_codec.errors import CheckpointError
from xy_codec.weights.checkpoint import Checkpoint, load_state, read_checkpoint
from xy_codec.xy.config import CodecConfig
from xy_codec.xy.mel import LogMel
from xy_codec.xy.model import XYTokenizer
from xy_codec.xy.transformer import sinusoids

INFERENCE_FORMAT = "xytok-inference"
RECOMPUTED = ("positional_embedding", "istft.window", "embed_avg", "cluster_size", "inited")
_HEAD_BIAS = "vocos.head.out.bias"
# The TTSD fork's vocoder, then the names of the transformers port.
_RENAMES = (
    (re.compile(r"^enhanced_vocos\."), "vocos."),
    (re.compile(r"\.mlp\.(fc[12])\."), r".\1."),
    (re.compile(r"\.parametrizations\.weight\.original0$"), ".weight_g"),
    (re.compile(r"\.parametrizations\.weight\.original1$"), ".weight_v"),
    (re.compile(r"\.positional_embedding\.weight$"), ".positional_embedding"),
)


def read_released(path: Path) -> Checkpoint:
    """Read a checkpoint of any release; its tensors get the names of the modules."""
    checkpoint = read_checkpoint(path)
    return replace(checkpoint, state=released_state(checkpoint.state))


def released_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors under the names of the modules."""
    renamed = {}
    for key, tensor in state.items():
        for pattern, replacement in _RENAMES:
            key = pattern.sub(replacement, key)
        # The transformers port stores the flag `inited` without its axis.
        renamed[key] = tensor.reshape(1) if key.endswith(".inited") and not tensor.ndim else tensor
    return renamed


def head_size(checkpoint: Checkpoint) -> int:
    """Length of the vocoder head's bias, which tells the variant."""
    bias = checkpoint.state.get(_HEAD_BIAS)
    if bias is None or bias.ndim != 1:
        raise CheckpointError(
            f"Checkpoint `{checkpoint.path}` has no key `{_HEAD_BIAS}`; expected the weights "
            "of an XY-Tokenizer. Pass the codec's checkpoint, not another model's."
        )
    return len(bias)


def build_model(config: CodecConfig, checkpoint: Checkpoint) -> XYTokenizer:
    """The float32 model with the checkpoint's weights; every key must match.

    The tensors move out of the checkpoint one by one, so that they are never in memory twice.
    """
    with torch.device("meta"):
        model = XYTokenizer(config)
    if checkpoint.metadata.get("format") == INFERENCE_FORMAT:
        for key, tensor in model.state_dict().items():
            if key.endswith(RECOMPUTED) and key not in checkpoint.state:
                checkpoint.state[key] = _recomputed(key, tensor.shape, checkpoint.state)
    load_state(model, checkpoint)
    model.mel = LogMel(config.feature_extractor_kwargs)
    return model.eval().requires_grad_(False)


def _recomputed(key: str, shape: torch.Size, state: Mapping[str, Tensor]) -> Tensor:
    if key.endswith("positional_embedding"):
        return sinusoids(*shape)
    if key.endswith("window"):
        return torch.hann_window(shape[0])
    if key.endswith("embed_avg"):
        return state.get(key.replace("embed_avg", "codebook"), torch.zeros(shape))
    return torch.ones(shape, dtype=torch.bool if key.endswith("inited") else torch.float32)
