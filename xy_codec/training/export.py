"""Writing trained weights as a codec that `load_codec` takes."""

import os
import shutil
from pathlib import Path

import torch
from safetensors.torch import save_file

from xy_codec.xy.model import XYTokenizer
from xy_codec.xy.state_dict import INFERENCE_FORMAT, RECOMPUTED


def export_codec(model: XYTokenizer, config: Path, folder: Path) -> int:
    """Write `config.yaml` and a float16 `model.safetensors`; return the size of the latter.

    Left out is what loading recomputes: positional tables, windows, moving averages.
    """
    folder.mkdir(parents=True, exist_ok=True)
    state = {
        key: tensor.detach().to("cpu", torch.float16).contiguous()
        for key, tensor in model.state_dict().items()
        if not key.endswith(RECOMPUTED)
    }
    partial = folder / f"model.{os.getpid()}.partial"
    save_file(state, partial, metadata={"format": INFERENCE_FORMAT})
    weights = folder / "model.safetensors"
    partial.replace(weights)
    if config.resolve() != (folder / "config.yaml").resolve():
        shutil.copyfile(config, folder / "config.yaml")
    return weights.stat().st_size
