"""SecoustiCodec's weights: the keys of its two released files, brought to those of the modules.

The codec's file may hold more than the codec (its training left a text branch in it): such keys
are named in a warning. The vocoder's file may not.
"""

import logging
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from xy_codec.errors import CheckpointError
from xy_codec.secousti.config import CodecConfig
from xy_codec.secousti.model import SecoustiModel
from xy_codec.weights.checkpoint import Checkpoint, load_state, read_checkpoint
from xy_codec.weights.source import hashes_sha256
from xy_codec.weights.weight_norm import fold_weight_norm

logger = logging.getLogger(__name__)

_FIRST_CONV = "encoder.model.0.conv.conv.weight"
# The reference draws a sample with it and throws the sample away.
_UNUSED = ".dense_var."
_SEANET = {
    "encoder": {
        "0": "conv_in", "1.block.1": "unit1.conv1", "1.block.3": "unit1.conv2", "3": "down1",
        "4.block.1": "unit2.conv1", "4.block.3": "unit2.conv2", "6": "down2", "8": "conv_out",
    },
    "decoder": {
        "0": "conv_in", "2": "up1", "3.block.1": "unit1.conv1", "3.block.3": "unit1.conv2",
        "5": "up2", "6.block.1": "unit2.conv1", "6.block.3": "unit2.conv2", "8": "conv_out",
    },
}  # fmt: skip
_CODEC_NAMES = (
    *(
        (rf"^{half}\.model\.{re.escape(theirs)}\.(conv|convtr)\.\1\.", f"{half}.{ours}.")
        for half, names in _SEANET.items()
        for theirs, ours in names.items()
    ),
    (r"^encoder_transformer\.transformer\.", "acoustic_transformer."),
    (r"^decoder_transformer\.transformer\.", "decoder_transformer."),
    (r"^vae_semantic_transformer\.semantic_transformer\.transformer\.", "semantic_transformer."),
    (r"^vae_semantic_transformer\.dense_mu\.", "semantic_mean."),
    (r"^semantic_connector\.semantic_transformer\.transformer\.", "connector."),
    (r"\.in_proj_weight$", ".in_proj.weight"),
    (r"^fsq\.", "quantizer."),
    (r"^paralinguistic_encoder\.dense_mu\.", "paralinguistic_encoder.to_vector."),
    (r"^(paralinguistic_encoder)\.senet\.fc\.0\.", r"\1.squeeze_excite.squeeze."),
    (r"^(paralinguistic_encoder)\.senet\.fc\.2\.", r"\1.squeeze_excite.excite."),
)
_NUMBERED = re.compile(r"^paralinguistic_encoder\.(conv2d|batchnorm)_(\d+)\.")
_VOCODER_NAMES = (
    (r"^m_source\.l_linear\.", "source.mix."),
    (r"^conv_pre\.", "conv_in."),
    (r"^conv_post\.", "conv_out."),
    (r"^source_resblocks\.", "source_blocks."),
    (r"^resblocks\.([012])\.", r"blocks.0.\1."),
    (r"^resblocks\.3\.", "blocks.1.0."),
    (r"^resblocks\.4\.", "blocks.1.1."),
    (r"^resblocks\.5\.", "blocks.1.2."),
    (r"^f0_predictor\.classifier\.", "pitch.classifier."),
    *((rf"^f0_predictor\.condnet\.{2 * n}\.", f"pitch.convs.{n}.") for n in range(5)),
)


def read_released(codec: Path, vocoder: Path) -> Checkpoint:
    """Read both files of a release; the tensors get the names of the modules."""
    checkpoint, other = read_checkpoint(codec), read_checkpoint(vocoder)
    digest = hashes_sha256([checkpoint.sha256, other.sha256])
    state = codec_state(checkpoint.state) | vocoder_state(other.state)
    return replace(checkpoint, state=state, sha256=digest)


def codec_state(released: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of the codec's file under the names of the modules."""
    prefix = _prefix(released)
    state = {}
    for key, tensor in released.items():
        key = key.removeprefix(prefix)
        if _UNUSED in key:
            continue
        numbered = _NUMBERED.match(key)
        if numbered:
            kind, number = numbered.groups()
            name = "convs" if kind == "conv2d" else "norms"
            key = f"paralinguistic_encoder.{name}.{int(number) - 1}.{key[numbered.end() :]}"
        if tensor.ndim == 4:
            # Over an image one band wide, only the middle column of a kernel meets anything.
            tensor = tensor[..., tensor.shape[-1] // 2]
        state[_renamed(key, _CODEC_NAMES)] = tensor
    return state


def vocoder_state(released: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of the vocoder's file under the names of the modules."""
    folded = fold_weight_norm(released)
    return {f"vocoder.{_renamed(key, _VOCODER_NAMES)}": tensor for key, tensor in folded.items()}


def config_of(checkpoint: Checkpoint) -> CodecConfig:
    """The sizes that the tensors of a checkpoint show."""
    sizes = _Sizes(checkpoint)
    convs = [sizes.of(f"paralinguistic_encoder.convs.{n}.bias")[0] for n in range(6)]
    base, mels, _ = sizes.of("encoder.conv_in.weight", 3)
    width = sizes.of("encoder.conv_out.bias")[0]
    return CodecConfig(
        num_mels=mels,
        seanet_width=base,
        strides=(sizes.stride("encoder.down1"), sizes.stride("encoder.down2")),
        width=width,
        num_layers=sizes.count("semantic_transformer.layers"),
        hidden_width=sizes.of("semantic_transformer.layers.0.linear1.weight")[0],
        num_digits=sizes.of("quantizer.project_in.bias")[0],
        paralinguistic_widths=tuple(convs),
        squeezed_width=sizes.of("paralinguistic_encoder.squeeze_excite.squeeze.weight")[0],
        state_width=sizes.of("paralinguistic_encoder.gru.weight_hh_l0", 2)[1],
        vocoder_width=sizes.of("vocoder.conv_in.bias")[0],
        pitch_width=sizes.of("vocoder.pitch.convs.0.bias")[0],
        vocoder_strides=(sizes.stride("vocoder.ups.0"), sizes.stride("vocoder.ups.1")),
    )


def build_model(config: CodecConfig, checkpoint: Checkpoint) -> SecoustiModel:
    """The float32 model with the checkpoint's weights; keys that it does not know are dropped.

    The tensors move out of the checkpoint one by one, so that they are never in memory twice.
    """
    with torch.device("meta"):
        model = SecoustiModel(config)
    unknown = sorted(checkpoint.state.keys() - model.state_dict().keys())
    foreign = [key for key in unknown if not key.startswith("vocoder.")]
    if foreign:
        logger.warning(
            "`%s` holds %d tensors that are not used: %s", checkpoint.path, len(foreign), foreign
        )
    for key in foreign:
        del checkpoint.state[key]
    load_state(model, checkpoint)
    return model.eval().requires_grad_(False)


class _Sizes:
    """Sizes of the tensors of a checkpoint."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._path = checkpoint.path
        self._state = checkpoint.state

    def of(self, key: str, num_axes: int | None = None) -> torch.Size:
        """The shape of a tensor that must be there."""
        tensor = self._state.get(key)
        if tensor is None or tensor.ndim == 0 or tensor.ndim != (num_axes or tensor.ndim):
            found = "lacks it" if tensor is None else f"holds {list(tensor.shape)}"
            raise CheckpointError(
                f"Checkpoint `{self._path}` has no sizes of a SecoustiCodec: they are read from "
                f"`{key}`, and it {found}. Pass the codec's file, with `hift.pt` beside it."
            )
        return tensor.shape

    def stride(self, name: str) -> int:
        """The stride of a convolution: half its kernel."""
        return self.of(f"{name}.weight", 3)[2] // 2

    def count(self, name: str) -> int:
        """How many numbered modules there are."""
        pattern = re.compile(rf"{re.escape(name)}\.(\d+)\.")
        return len({found[1] for key in self._state if (found := pattern.match(key))})


def _renamed(key: str, names: Iterable[tuple[str, str]]) -> str:
    for pattern, replacement in names:
        key = re.sub(pattern, replacement, key)
    return key


def _prefix(keys: Iterable[str]) -> str:
    """What stands before every key, such as `module.`."""
    first = next((key for key in keys if key.endswith(_FIRST_CONV)), _FIRST_CONV)
    prefix = first.removesuffix(_FIRST_CONV)
    return prefix if all(key.startswith(prefix) for key in keys) else ""
