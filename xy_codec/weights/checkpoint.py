"""Reading checkpoint files into a model: never running code from them, and every key accounted for.

Pickles are read with weights only. A safetensors file whose header says `format: xytok-inference`
may be in float16 and may leave out what can be recomputed: positional tables, the window of the
inverse STFT and the quantiser's training buffers.
"""

import pickle
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from xy_codec.errors import CheckpointError
from xy_codec.weights.source import file_sha256
from xy_codec.xy.config import CodecConfig
from xy_codec.xy.mel import LogMel
from xy_codec.xy.model import XYTokenizer
from xy_codec.xy.transformer import sinusoids

INFERENCE_FORMAT = "xytok-inference"
RECOMPUTED = ("positional_embedding", "istft.window", "embed_avg", "cluster_size", "inited")
_RENAMES = (
    (re.compile(r"^enhanced_vocos\."), "vocos."),
    (re.compile(r"\.mlp\.(fc[12])\."), r".\1."),
    (re.compile(r"\.parametrizations\.weight\.original0$"), ".weight_g"),
    (re.compile(r"\.parametrizations\.weight\.original1$"), ".weight_v"),
    (re.compile(r"\.positional_embedding\.weight$"), ".positional_embedding"),
)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The tensors of one file under the released names, and what its bytes hash to."""

    path: Path
    state: dict[str, Tensor]
    metadata: Mapping[str, str]
    sha256: str

    @property
    def head_rows(self) -> int:
        """Length of the vocoder head's bias, which tells the variant."""
        bias = self.state.get("vocos.head.out.bias")
        if bias is None or bias.ndim != 1:
            raise CheckpointError(
                f"Checkpoint `{self.path}` has no key `vocos.head.out.bias`; expected the weights "
                "of an XY-Tokenizer. Pass the codec's checkpoint, not another model's."
            )
        return len(bias)


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a `.safetensors` file or a torch pickle."""
    if not path.is_file():
        raise CheckpointError(
            f"Checkpoint `{path}` does not exist; expected a file. Check the path."
        )
    read = _read_safetensors if path.suffix == ".safetensors" else _read_pickle
    tensors, metadata = read(path)
    renamed = {_released_name(key): _plain(key, tensor) for key, tensor in tensors.items()}
    return Checkpoint(path, renamed, metadata, file_sha256(path))


def build_model(config: CodecConfig, checkpoint: Checkpoint) -> XYTokenizer:
    """The float32 model with the checkpoint's weights; every key must match.

    The tensors move out of the checkpoint one by one, so that they are never in memory twice.
    """
    with torch.device("meta"):
        model = XYTokenizer(config)
    state = checkpoint.state
    expected = {key: tensor.shape for key, tensor in model.state_dict().items()}
    if checkpoint.metadata.get("format") == INFERENCE_FORMAT:
        for key, tensor in _recomputed(expected, state).items():
            state.setdefault(key, tensor)
    _check_keys(checkpoint.path, expected, state)
    # Copies are aligned as torch aligns; tensors mapped from a file are not, and that can show
    # in the last bit of a product.
    copies = {key: _as_stored(key, state.pop(key)) for key in list(state)}
    model.load_state_dict(copies, assign=True)
    model.mel = LogMel(config.feature_extractor_kwargs)
    return model.eval().requires_grad_(False)


def _read_safetensors(path: Path) -> tuple[Mapping[str, Tensor], Mapping[str, str]]:
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
    state = loaded.get("generator", loaded) if isinstance(loaded, dict) else None
    if not isinstance(state, dict) or not all(isinstance(t, Tensor) for t in state.values()):
        raise CheckpointError(
            f"Checkpoint `{path}` holds a {type(loaded).__name__} that is no state dict; expected "
            "tensors by name, or such a dict under `generator`."
        )
    return state, {}


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _released_name(key: str) -> str:
    for pattern, replacement in _RENAMES:
        key = pattern.sub(replacement, key)
    return key


def _plain(key: str, tensor: Tensor) -> Tensor:
    # The transformers port stores the flag without its axis.
    return tensor.reshape(1) if key.endswith(".inited") and tensor.ndim == 0 else tensor


def _as_stored(key: str, tensor: Tensor) -> Tensor:
    return tensor.to(torch.bool if key.endswith(".inited") else torch.float32, copy=True)


def _recomputed(
    expected: Mapping[str, torch.Size], state: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    made: dict[str, Tensor] = {}
    for key, shape in expected.items():
        if key.endswith("positional_embedding"):
            made[key] = sinusoids(*shape)
        elif key.endswith("istft.window"):
            made[key] = torch.hann_window(shape[0])
        elif key.endswith("inited"):
            made[key] = torch.ones(shape, dtype=torch.bool)
        elif key.endswith("cluster_size"):
            made[key] = torch.ones(shape)
        elif key.endswith("embed_avg"):
            made[key] = state.get(key.replace("embed_avg", "codebook"), torch.zeros(shape))
    return made


def _check_keys(
    path: Path, expected: Mapping[str, torch.Size], state: Mapping[str, Tensor]
) -> None:
    missing = [key for key in expected if key not in state]
    extra = [key for key in state if key not in expected]
    misshapen = [
        f"{key} {list(state[key].shape)} instead of {list(shape)}"
        for key, shape in expected.items()
        if key in state and state[key].shape != shape
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
