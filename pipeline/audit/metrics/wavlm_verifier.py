"""SIM by the WavLM-large verifier of the codec's paper: WavLM and ECAPA-TDNN in one checkpoint.

The published file (`wavlm_large_finetune.pth`) keeps WavLM under fairseq's names; they are mapped
onto `transformers`' module, every tensor is used, and nothing is loaded that can run code.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.audit.metrics.speaker_embedding import Embedding, unit
from pipeline.errors import UsageError
from xy_codec.contract import Waveform

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
    """WavLM's hidden states into an ECAPA-TDNN head; the waveform is normalised first."""

    def __init__(self, wavlm: Any, head: Any, name: str, device: str = "cpu") -> None:
        self._wavlm = wavlm.eval().to(device)
        self._head = head.eval().to(device)
        self._device = device
        self.name = name

    def embed(self, waveform: Waveform) -> Embedding:
        """The unit vector of one waveform."""
        import torch

        with torch.inference_mode():
            samples = torch.from_numpy(waveform).to(self._device)
            samples = torch.nn.functional.layer_norm(samples, samples.shape)
            states = self._wavlm(samples[None], output_hidden_states=True).hidden_states
            vector = self._head(torch.stack(states))[0].float().cpu().numpy()
        return unit(vector)


def load_verifier(
    path: Path, device: str = "cpu", settings: Mapping[str, Any] = _LARGE
) -> WavLMVerifier:
    """The verifier in a checkpoint; `settings` are those of WavLM-large unless told otherwise."""
    from transformers import WavLMConfig, WavLMModel

    from pipeline.audit.metrics.ecapa import EcapaHead

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
    import torch

    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, ValueError, EOFError) as error:
        raise UsageError(
            f"Speaker checkpoint `{path}` cannot be read ({error}); expected a file of tensors "
            "such as `wavlm_large_finetune.pth`. Check the path."
        ) from error
    state: dict[str, Any] = content.get("model", content)
    return {k: v for k, v in state.items() if "loss_calculator" not in k}
