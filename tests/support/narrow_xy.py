"""An XY-Tokenizer of the full topology with one narrow layer a block, and random weights."""

import copy
from typing import Any

import torch

from tests.support.golden_case import Group
from xy_codec.xy.config import CodecConfig
from xy_codec.xy.model import XYTokenizer

_NARROWER = {96: 16, 192: 32, 384: 64}


def narrow_params() -> dict[str, Any]:
    """Its `generator_params`."""
    params = copy.deepcopy(Group("small_xy").info["params"])
    for name, block in params.items():
        if isinstance(block, dict) and name != "feature_extractor_kwargs":
            narrower = {key: _NARROWER[size] for key, size in block.items() if size in _NARROWER}
            block.update(narrower)
            block.update({key: 1 for key in block if key.endswith(("_layers", "_heads"))})
    return params


def narrow_state() -> dict[str, torch.Tensor]:
    """Its weights, from a seed; entries of the codebooks lie apart."""
    torch.manual_seed(1)
    state = XYTokenizer(CodecConfig.from_mapping(narrow_params())).state_dict()
    for key in state:
        if key.endswith(".codebook"):
            state[key].normal_()
    return state
