"""Whisper's encoder as a start: from transformers, or out of a CTranslate2 `model.bin`."""

import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from xy_codec.errors import CheckpointError
from xy_codec.torchaudio_import import import_torchaudio
from xy_codec.xy.encoder import Encoder

_DTYPES = {0: "<f4", 1: "<i1", 2: "<i2", 3: "<i4", 4: "<f2"}
_NORMS = {
    "self_attention/layer_norm": "self_attn_layer_norm",
    "ffn/layer_norm": "final_layer_norm",
}


def whisper_encoder_state(source: str) -> dict[str, Tensor]:
    """The encoder's weights under this codec's names, from a `model.bin` or a transformers id."""
    if source.endswith("model.bin"):
        return from_ctranslate2(Path(source))
    import_torchaudio()  # transformers imports it too, and fails where it cannot be loaded whole
    from transformers import WhisperModel

    return from_transformers(WhisperModel.from_pretrained(source))


def load_whisper(encoder: Encoder, state: Mapping[str, Tensor]) -> None:
    """Start an encoder from Whisper's; one with fewer layers takes the first of them."""
    wanted = encoder.state_dict()
    missing = sorted(key for key in wanted if key not in state)
    misshapen = sorted(
        key for key in wanted if key in state and state[key].shape != wanted[key].shape
    )
    if missing or misshapen:
        raise CheckpointError(
            f"The Whisper encoder lacks {missing[:3]} and has other shapes at {misshapen[:3]}; "
            f"expected width {wanted['conv1.bias'].numel()} and at least {len(encoder.layers)} "
            "layers. Use another Whisper, or change the codec's widths."
        )
    encoder.load_state_dict({key: state[key] for key in wanted})


def from_transformers(model: Any) -> dict[str, Tensor]:
    """The encoder of a transformers `WhisperModel`; only its positional table has another name."""
    state = {key: tensor.detach().float() for key, tensor in model.encoder.state_dict().items()}
    state["positional_embedding"] = state.pop("embed_positions.weight")
    return state


def from_ctranslate2(path: Path) -> dict[str, Tensor]:
    """The encoder in a CTranslate2 model; queries, keys and values lie stacked there."""
    variables = read_ctranslate2(path)

    def read(name: str) -> Tensor:
        return torch.from_numpy(variables[f"encoder/{name}"].astype(np.float32))

    state = {"positional_embedding": read("position_encodings/encodings")}
    for name in ("conv1", "conv2"):
        state |= {f"{name}.{part}": read(f"{name}/{part}") for part in ("weight", "bias")}
    state |= {
        "layer_norm.weight": read("layer_norm/gamma"),
        "layer_norm.bias": read("layer_norm/beta"),
    }
    layer = 0
    while f"encoder/layer_{layer}/ffn/linear_0/weight" in variables:
        there, here = f"layer_{layer}/", f"layers.{layer}."
        for part in ("weight", "bias"):
            stacked = read(f"{there}self_attention/linear_0/{part}").chunk(3)
            for name, tensor in zip("qkv", stacked, strict=True):
                state[f"{here}self_attn.{name}_proj.{part}"] = tensor
            state[f"{here}self_attn.out_proj.{part}"] = read(
                f"{there}self_attention/linear_1/{part}"
            )
            state[f"{here}fc1.{part}"] = read(f"{there}ffn/linear_0/{part}")
            state[f"{here}fc2.{part}"] = read(f"{there}ffn/linear_1/{part}")
        for theirs, ours in _NORMS.items():
            state[f"{here}{ours}.weight"] = read(f"{there}{theirs}/gamma")
            state[f"{here}{ours}.bias"] = read(f"{there}{theirs}/beta")
        layer += 1
    return state


def read_ctranslate2(path: Path) -> dict[str, npt.NDArray[Any]]:
    """All variables of a CTranslate2 `model.bin` (format 6, little-endian)."""
    data, place = memoryview(path.read_bytes()), 0

    def number(code: str) -> int:
        nonlocal place
        (value,) = struct.unpack_from(f"<{code}", data, place)
        place += struct.calcsize(code)
        return int(value)

    def take(size: int) -> memoryview:
        nonlocal place
        place += size
        return data[place - size : place]

    def text() -> str:
        return bytes(take(number("H"))).rstrip(b"\0").decode()

    version = number("I")
    text()
    number("I")
    variables = {}
    for _ in range(number("I")):
        name = text()
        shape = [number("I") for _ in range(number("B"))]
        dtype = _DTYPES.get(number("B"))
        if dtype is None:
            raise CheckpointError(
                f"`{path}` (CTranslate2 format {version}) holds a type this reader does not know; "
                "expected float or integer weights. Convert the model to float16."
            )
        variables[name] = np.frombuffer(take(number("I")), dtype).reshape(shape)
    return variables
