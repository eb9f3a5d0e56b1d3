"""Reading checkpoint files of any codec: never running code from them, every key accounted for.

Pickles are read with weights only. Which keys a codec's releases use is that codec's own matter.
"""

import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from xy_codec.errors import CheckpointError
from xy_codec.weights.source import file_sha256

# Under which releases keep their tensors, if they keep them under a key.
_WRAPPERS = ("generator", "model", "state_dict")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The tensors of one file by name, and what its bytes hash to."""

    path: Path
    state: dict[str, Tensor]
    metadata: Mapping[str, str]
    sha256: str


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a `.safetensors` file or a torch pickle."""
    if not path.is_file():
        raise CheckpointError(
            f"Checkpoint `{path}` does not exist; expected a file. Check the path."
        )
    read = read_safetensors if path.suffix == ".safetensors" else _read_pickle
    tensors, metadata = read(path)
    return Checkpoint(path, dict(tensors), metadata, file_sha256(path))


def load_state(model: nn.Module, checkpoint: Checkpoint) -> None:
    """Give a model on the meta device the checkpoint's tensors; every key must match.

    The tensors move out of the checkpoint one by one, so that they are never in memory twice.
    """
    state = checkpoint.state
    expected = model.state_dict()
    _check_keys(checkpoint.path, expected, state)
    # Copies are aligned as torch aligns; tensors mapped from a file are not, and that can show
    # in the last bit of a product.
    copies = {key: state.pop(key).to(like.dtype, copy=True) for key, like in expected.items()}
    model.load_state_dict(copies, assign=True)


def read_safetensors(path: Path) -> tuple[Mapping[str, Tensor], Mapping[str, str]]:
    """The tensors and the metadata of one `.safetensors` file."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (no dict)
            return tensors, dict(file.metadata() or {})
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"Checkpoint `{path}` is damaged: {error}. Expected a complete safetensors file; "
            "download it again."
        ) from error


def _read_pickle(path: Path) -> tuple[Mapping[str, Tensor], Mapping[str, str]]:
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"Checkpoint `{path}` is refused: loading it would run code from the file or it is no "
            f"pickle ({_first_line(error)}). Expected plain tensors; convert it to "
            "safetensors where you trust it."
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        raise CheckpointError(
            f"Checkpoint `{path}` is damaged: {_first_line(error)}. Expected a complete "
            "torch checkpoint; download it again."
        ) from error
    state = _unwrapped(loaded) if isinstance(loaded, dict) else None
    if not isinstance(state, dict) or not all(isinstance(t, Tensor) for t in state.values()):
        raise CheckpointError(
            f"Checkpoint `{path}` holds a {type(loaded).__name__} that is no state dict; expected "
            f"tensors by name, or such a dict under {', '.join(_WRAPPERS)}."
        )
    return state, {}


def _unwrapped(loaded: dict[str, Any]) -> object:
    return next((loaded[key] for key in _WRAPPERS if key in loaded), loaded)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _check_keys(path: Path, expected: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> None:
    missing = [key for key in expected if key not in state]
    extra = [key for key in state if key not in expected]
    misshapen = [
        f"{key} {list(state[key].shape)} instead of {list(like.shape)}"
        for key, like in expected.items()
        if key in state and state[key].shape != like.shape
    ]
    faults = [
        f"{len(keys)} {what}: {', '.join(keys[:3])}{', …' if len(keys) > 3 else ''}"
        for what, keys in (("missing", missing), ("extra", extra), ("misshapen", misshapen))
        if keys
    ]
    if faults:
        raise CheckpointError(
            f"Checkpoint `{path}` does not match its configuration ({'; '.join(faults)}). "
            "Expected every key of the model and no other; pass the YAML that belongs to it."
        )
