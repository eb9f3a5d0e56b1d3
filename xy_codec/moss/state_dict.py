"""The release's weights: its key names, and older ones, brought to those of the modules.

Weights of the quantiser are stored as length and direction; the modules take the product.
"""

import re
from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from xy_codec.moss.config import CodecConfig
from xy_codec.moss.model import MossAudioTokenizer
from xy_codec.weights.checkpoint import Checkpoint, load_state
from xy_codec.weights.weight_norm import fold_weight_norm

# The release numbers its attention weights; its older files, and torch, do not.
_RENAMES = (
    (re.compile(r"\.self_attn\.in_projs\.0\.weight$"), ".self_attn.in_proj.weight"),
    (re.compile(r"\.self_attn\.in_proj_weight$"), ".self_attn.in_proj.weight"),
    (re.compile(r"\.self_attn\.out_projs\.0\.weight$"), ".self_attn.out_proj.weight"),
)


def module_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors under the names of the modules."""
    renamed = {}
    for key, tensor in fold_weight_norm(state).items():
        for pattern, replacement in _RENAMES:
            key = pattern.sub(replacement, key)
        # The quantiser's projections are stored as convolutions over one step.
        is_kernel = key.startswith("quantizer.") and tensor.ndim == 3
        renamed[key] = tensor.squeeze(-1) if is_kernel else tensor
    return renamed


def build_model(config: CodecConfig, checkpoint: Checkpoint) -> MossAudioTokenizer:
    """The float32 model with the weights of a checkpoint as released; every key must match.

    The tensors move out of the checkpoint one by one, so that they are never in memory twice.
    """
    with torch.device("meta"):
        model = MossAudioTokenizer(config)
    state = module_state(checkpoint.state)
    checkpoint.state.clear()
    load_state(model, replace(checkpoint, state=state))
    return model.eval().requires_grad_(False)
