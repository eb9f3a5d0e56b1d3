"""SIM by the WavLM-large verifier of the codec's paper: WavLM and ECAPA-TDNN in one checkpoint.

The published file (`wavlm_large_finetune.pth`) keeps WavLM under fairseq's names; they are mapped
onto `transformers`' module, every tensor is used, and nothing is loaded that can run code.
"""

import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from pipeline.errors import UsageError
from xy_codec.contract import Waveform

_EPSILON = 1e-9
# WavLM-large keeps 25 hidden states of 1,024 values, 50 a second: 0.6 GB of so much sound, and
# about 3 GB while its first convolution runs.
_BATCH_SECONDS = 120
_RATE_HZ = 16000
Embedding = NDArray[np.float32]
_POSITIONS = "encoder.pos_conv_embed.conv"
_PREFIX = "feature_extract.model."
# Fairseq's name → transformers' name, applied in this order.
_RENAMES: tuple[tuple[str, str], ...] = (
    (r"^feature_extractor\.conv_layers\.(\d+)\.0\.", r"feature_extractor.conv_layers.\1.conv."),
    (
        r"^feature_extractor\.conv_layers\.(\d+)\.2(?:\.1)?\.",
        r"feature_extractor.conv_layers.\1.layer_norm.",
    ),
    (r"^post_extract_proj\.", "feature_projection.projection."),
    (r"^layer_norm\.", "feature_projection.layer_norm."),
    (r"^mask_emb$", "masked_spec_embed"),
    (r"^encoder\.pos_conv\.0\.weight_g$", f"{_POSITIONS}.parametrizations.weight.original0"),
    (r"^encoder\.pos_conv\.0\.weight_v$", f"{_POSITIONS}.parametrizations.weight.original1"),
    (r"^encoder\.pos_conv\.0\.", f"{_POSITIONS}."),
    (r"\.self_attn_layer_norm\.", ".layer_norm."),
    (r"\.self_attn\.relative_attention_bias\.", ".attention.rel_attn_embed."),
    (r"\.self_attn\.grep_linear\.", ".attention.gru_rel_pos_linear."),
    (r"\.self_attn\.grep_a$", ".attention.gru_rel_pos_const"),
    (r"\.self_attn\.", ".attention."),
    (r"\.fc1\.", ".feed_forward.intermediate_dense."),
    (r"\.fc2\.", ".feed_forward.output_dense."),
)
_LARGE: Mapping[str, Any] = {
    "hidden_size": 1024,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "intermediate_size": 4096,
    "feat_extract_norm": "layer",
    "do_stable_layer_norm": True,
    "conv_bias": False,
}


class WavLMVerifier:
    """WavLM's hidden states into an ECAPA-TDNN head; each waveform is normalised first.

    WavLM takes clips of like length together, padding masked. The head takes a clip at a time
    without its padding: it normalises and pools over time, and is a small part of the work.
    """

    def __init__(self, wavlm: Any, head: nn.Module, name: str, device: str = "cpu") -> None:
        self._wavlm = wavlm.eval().to(device)
        self._head = head.eval().to(device)
        self._device = device
        self.name = name

    def embed(self, waveforms: Sequence[Waveform]) -> list[Embedding]:
        """The vector of each waveform."""
        vectors: dict[int, Embedding] = {}
        for batch in _batches([len(waveform) for waveform in waveforms]):
            with torch.inference_mode():
                states = self._hidden_states([waveforms[number] for number in batch])
                for place, number in enumerate(batch):
                    frames = self._num_frames(len(waveforms[number]))
                    own = torch.stack([layer[place : place + 1, :frames] for layer in states])
                    vectors[number] = np.asarray(self._head(own)[0].float().cpu())
        return [vectors[number] for number in range(len(waveforms))]

    def _hidden_states(self, waveforms: Sequence[Waveform]) -> Any:
        """The states after every layer, `[B, T, D]` each, of clips padded to the longest."""
        shape = (len(waveforms), max(map(len, waveforms)))
        samples, mask = torch.zeros(shape), torch.zeros(shape, dtype=torch.long)
        for row, waveform in enumerate(waveforms):
            own = torch.from_numpy(waveform)
            samples[row, : len(own)] = F.layer_norm(own, own.shape)
            mask[row, : len(own)] = 1
        samples, mask = samples.to(self._device), mask.to(self._device)
        with warnings.catch_warnings():
            # transformers gives torch a mask of truth values beside its bias of position.
            warnings.filterwarnings("ignore", "Support for mismatched key_padding_mask")
            found = self._wavlm(samples, attention_mask=mask, output_hidden_states=True)
        return found.hidden_states

    def _num_frames(self, samples: int) -> int:
        """Frames that WavLM's convolutions make of so many samples."""
        config = self._wavlm.config
        for kernel, stride in zip(config.conv_kernel, config.conv_stride, strict=True):
            samples = (samples - kernel) // stride + 1
        return samples


def _batches(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Clips that go through WavLM together: of like length, and not too long with their padding."""
    batch: list[int] = []
    for number in sorted(range(len(lengths)), key=lengths.__getitem__):
        if batch and lengths[number] * (len(batch) + 1) > _BATCH_SECONDS * _RATE_HZ:
            yield batch
            batch = []
        batch.append(number)
    if batch:
        yield batch


def load_verifier(
    path: Path, device: str = "cpu", settings: Mapping[str, Any] = _LARGE
) -> WavLMVerifier:
    """The verifier in a checkpoint; `settings` are those of WavLM-large unless told otherwise."""
    from transformers import WavLMConfig, WavLMModel

    state = _read_state(path)
    wavlm = WavLMModel(WavLMConfig(**settings))
    sizes = _head_sizes(state)
    head = EcapaHead(**sizes)
    try:
        wavlm.load_state_dict({to_transformers(k): v for k, v in _wavlm_part(state).items()})
        head.load_state_dict(
            {k: v for k, v in state.items() if not k.startswith("feature_extract.")}
        )
    except RuntimeError as error:
        raise UsageError(
            f"Checkpoint `{path}` is no WavLM verifier of these sizes: {error}. Expected "
            "`wavlm_large_finetune.pth`; use `--sim-model campplus` without it."
        ) from error
    return WavLMVerifier(wavlm, head, f"wavlm-verifier:{path.stem}", device)


def to_transformers(name: str) -> str:
    """Fairseq's name of a WavLM tensor as `transformers` has it."""
    for pattern, replacement in _RENAMES:
        name = re.sub(pattern, replacement, name)
    return name


def _wavlm_part(state: Mapping[str, Any]) -> dict[str, Any]:
    return {k.removeprefix(_PREFIX): v for k, v in state.items() if k.startswith(_PREFIX)}


def _head_sizes(state: Mapping[str, Any]) -> dict[str, int]:
    try:
        return {
            "layers": state["feature_weight"].shape[0],
            "width_in": state["layer1.conv.weight"].shape[1],
            "width": state["layer1.conv.weight"].shape[0],
            "pooled": state["conv.weight"].shape[0],
            "embedding": state["linear.weight"].shape[0],
            "scale": state["layer2.Conv1dReluBn1.conv.weight"].shape[0]
            // state["layer2.Res2Conv1dReluBn.convs.0.weight"].shape[0],
            "attention": state["pooling.linear1.weight"].shape[0],
        }
    except KeyError as error:
        raise UsageError(
            f"The checkpoint has no tensor {error}; expected the ECAPA-TDNN verifier of WavLM, "
            "`wavlm_large_finetune.pth`; use `--sim-model campplus` without it."
        ) from error


def _read_state(path: Path) -> dict[str, Any]:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, ValueError, EOFError) as error:
        raise UsageError(
            f"Speaker checkpoint `{path}` cannot be read ({error}); expected a file of tensors "
            "such as `wavlm_large_finetune.pth`. Check the path."
        ) from error
    state: dict[str, Any] = content.get("model", content)
    return {k: v for k, v in state.items() if "loss_calculator" not in k}


class ConvReluNorm(nn.Module):
    """Convolution, ReLU, batch norm over `[B, C, T]`."""

    def __init__(self, width_in: int, width_out: int, kernel: int = 1, padding: int = 0) -> None:
        super().__init__()
        self.conv = nn.Conv1d(width_in, width_out, kernel, padding=padding)
        self.bn = nn.BatchNorm1d(width_out)

    def forward(self, x: Tensor) -> Tensor:
        """Apply all three."""
        out: Tensor = self.bn(F.relu(self.conv(x)))
        return out


class MultiScaleConv(nn.Module):
    """Res2 convolution: each slice of channels also sees the result of the one before it."""

    def __init__(self, width: int, dilation: int, scale: int) -> None:
        super().__init__()
        self.slice = width // scale
        self.convs = nn.ModuleList(
            nn.Conv1d(self.slice, self.slice, 3, padding=dilation, dilation=dilation)
            for _ in range(scale - 1)
        )
        self.bns = nn.ModuleList(nn.BatchNorm1d(self.slice) for _ in range(scale - 1))

    def forward(self, x: Tensor) -> Tensor:
        """Convolve slice by slice; the last slice passes through."""
        slices = torch.split(x, self.slice, dim=1)
        outputs: list[Tensor] = []
        for index, (conv, norm) in enumerate(zip(self.convs, self.bns, strict=True)):
            mixed = slices[index] + outputs[-1] if outputs else slices[index]
            outputs.append(norm(F.relu(conv(mixed))))
        return torch.cat([*outputs, slices[-1]], dim=1)


class ChannelGate(nn.Module):
    """Squeeze and excitation: weighs channels by their mean over time."""

    def __init__(self, width: int, bottleneck: int) -> None:
        super().__init__()
        self.linear1 = nn.Linear(width, bottleneck)
        self.linear2 = nn.Linear(bottleneck, width)

    def forward(self, x: Tensor) -> Tensor:
        """Weigh the channels of `[B, C, T]`."""
        weights = torch.sigmoid(self.linear2(F.relu(self.linear1(x.mean(dim=2)))))
        return x * weights[..., None]


class Block(nn.Module):
    """A residual block; attribute names are those of the checkpoints."""

    def __init__(self, width: int, dilation: int, scale: int, bottleneck: int) -> None:
        super().__init__()
        self.Conv1dReluBn1 = ConvReluNorm(width, width)
        self.Res2Conv1dReluBn = MultiScaleConv(width, dilation, scale)
        self.Conv1dReluBn2 = ConvReluNorm(width, width)
        self.SE_Connect = ChannelGate(width, bottleneck)

    def forward(self, x: Tensor) -> Tensor:
        """Add what the block finds to its input."""
        inner = self.Conv1dReluBn2(self.Res2Conv1dReluBn(self.Conv1dReluBn1(x)))
        out: Tensor = x + self.SE_Connect(inner)
        return out


class AttentivePooling(nn.Module):
    """Mean and standard deviation over time, weighted by attention: `[B, C, T]` → `[B, 2C]`."""

    def __init__(self, width: int, attention: int) -> None:
        super().__init__()
        self.linear1 = nn.Conv1d(width, attention, 1)
        self.linear2 = nn.Conv1d(attention, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Pool over time."""
        weights = torch.softmax(self.linear2(torch.tanh(self.linear1(x))), dim=2)
        mean = (weights * x).sum(dim=2)
        variance = (weights * x**2).sum(dim=2) - mean**2
        return torch.cat([mean, variance.clamp(min=_EPSILON).sqrt()], dim=1)


class EcapaHead(nn.Module):
    """Hidden states of a speech model `[layers, B, T, D]` → embeddings `[B, E]`."""

    def __init__(
        self,
        layers: int,
        width_in: int,
        width: int = 512,
        pooled: int = 1536,
        embedding: int = 256,
        scale: int = 8,
        attention: int = 128,
    ) -> None:
        super().__init__()
        self.feature_weight = nn.Parameter(torch.zeros(layers))
        self.instance_norm = nn.InstanceNorm1d(width_in)
        self.layer1 = ConvReluNorm(width_in, width, kernel=5, padding=2)
        self.layer2 = Block(width, 2, scale, attention)
        self.layer3 = Block(width, 3, scale, attention)
        self.layer4 = Block(width, 4, scale, attention)
        self.conv = nn.Conv1d(3 * width, pooled, 1)
        self.pooling = AttentivePooling(pooled, attention)
        self.bn = nn.BatchNorm1d(2 * pooled)
        self.linear = nn.Linear(2 * pooled, embedding)

    def forward(self, hidden_states: Tensor) -> Tensor:
        """Weigh the layers, run the blocks, pool, project."""
        weights = torch.softmax(self.feature_weight, dim=0)
        mixed = torch.einsum("n,nbtd->bdt", weights, hidden_states) + 1e-6
        first = self.layer1(self.instance_norm(mixed))
        second = self.layer2(first)
        third = self.layer3(second)
        fourth = self.layer4(third)
        joined = F.relu(self.conv(torch.cat([second, third, fourth], dim=1)))
        out: Tensor = self.linear(self.bn(self.pooling(joined)))
        return out
