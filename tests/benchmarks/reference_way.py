"""The reference's way of running the same model: what our packing is measured against.

The plain model with every window padded to 30 s and attention under a dense additive mask. One
clip a batch, which is kind to it: a batch would also run windows of clips that have ended.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from xy_codec.engine.windows import WindowPlan
from xy_codec.weights.source import fetch_codec, find_files, read_config
from xy_codec.xy.config import CodecConfig
from xy_codec.xy.model import XYTokenizer
from xy_codec.xy.state_dict import build_model, read_released
from xy_codec.xy.transformer import Attention, Block

_WINDOW = 480_000


class DenseAttention(Attention):
    """Attention that adds a mask as large as the scores: four operations, none of them fused."""

    @classmethod
    def of(cls, plain: Attention) -> "DenseAttention":
        """The same weights."""
        dense = cls(plain.out_proj.out_features, plain.num_heads)
        dense.load_state_dict(plain.state_dict(), assign=True)
        return dense

    def forward(self, steps: Tensor, valid: Tensor | None) -> Tensor:
        """Scores, mask, softmax and sum."""
        if valid is None:
            valid = torch.ones(steps.shape[:2], dtype=torch.bool, device=steps.device)
        query, key, value = (
            projection(steps).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
            for projection in (self.q_proj, self.k_proj, self.v_proj)
        )
        both = valid[:, None, :, None] & valid[:, None, None, :]
        mask = torch.where(both, 1.0, torch.finfo(steps.dtype).min)
        scores = torch.matmul(query * query.shape[-1] ** -0.5, key.transpose(-1, -2)) + mask
        attended = torch.matmul(scores.softmax(dim=-1), value)
        out: Tensor = self.out_proj(attended.transpose(1, 2).flatten(2))
        return out


def open_reference(source: str | None) -> XYTokenizer:
    """The plain model of a checkpoint, or of the released sizes, with the reference's attention."""
    if source is None:
        # Here, because the GPU's script uses this file where pydantic is not installed.
        from tests.support.full_size_codec import random_full_size

        model = build_model(*random_full_size())
    else:
        files = find_files(fetch_codec(source))
        assert files.config is not None
        config = CodecConfig.from_mapping(read_config(files.config))
        model = build_model(config, read_released(files.weights))
    return with_dense_attention(model)


def with_dense_attention(model: XYTokenizer) -> XYTokenizer:
    """Give every block the reference's attention."""
    for block in model.modules():
        if isinstance(block, Block):
            block.self_attn = DenseAttention.of(block.self_attn)
    return model


@torch.inference_mode()
def encode_as_reference(
    model: XYTokenizer, plan: WindowPlan, waveforms: Sequence[np.ndarray]
) -> list[np.ndarray]:
    """Codes of each clip, window after window."""
    out = []
    for waveform in waveforms:
        parts = []
        for window in plan.encode_windows(len(waveform)):
            samples = waveform[window.start : window.stop]
            padded = torch.zeros(1, _WINDOW)
            padded[0, : len(samples)] = torch.from_numpy(samples)
            codes = model.encode(padded, torch.tensor([len(samples)]))[0]
            parts.append(codes[:, : window.num_kept].short().numpy())
        out.append(np.concatenate(parts, axis=1))
    return out
