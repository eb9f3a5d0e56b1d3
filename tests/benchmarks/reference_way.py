"""The reference's way of running the same model: what our packing is measured against.

Every window is padded to 30 s, log-mel runs on the CPU clip by clip, attention is unfused with a
dense additive mask in float32. One clip a batch, which is kind to it: a batch would also run
windows of clips that have ended.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from xy_codec.engine.layout import PaddedLayout
from xy_codec.engine.packed_codec import NeuralCodec

_WINDOW = 480_000
_TOKENS = 1500


class DenseLayout(PaddedLayout):
    """A padded batch whose attention adds a mask as large as the scores."""

    def attend(self, qkv: Tensor, num_heads: int) -> Tensor:
        """Scores, mask, softmax and sum as four operations."""
        batch, steps, _ = qkv.shape
        split = qkv.view(batch, steps, 3, num_heads, -1).permute(2, 0, 3, 1, 4)
        query, key, value = split.unbind(0)
        both = self.valid[:, None, :, None] & self.valid[:, None, None, :]
        mask = torch.where(both, 1.0, torch.finfo(qkv.dtype).min)
        scores = torch.matmul(query * query.shape[-1] ** -0.5, key.transpose(-1, -2)) + mask
        attended = torch.matmul(scores.softmax(dim=-1), value)
        return attended.transpose(1, 2).reshape(batch, steps, -1)

    def faster(self, factor: int) -> "DenseLayout":
        """The same clips with `factor` times as many steps."""
        return DenseLayout(self.lengths * factor, self.num_steps * factor)

    def slower(self, factor: int) -> "DenseLayout":
        """The same clips with one step where `factor` were."""
        return DenseLayout(self.lengths // factor, self.num_steps // factor)


@torch.inference_mode()
def encode_as_reference(codec: NeuralCodec, waveforms: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Codes of each clip, window after window."""
    out = []
    for waveform in waveforms:
        parts = []
        for window in codec.plan.encode_windows(len(waveform)):
            samples = waveform[window.start : window.stop]
            padded = torch.zeros(1, _WINDOW)
            padded[0, : len(samples)] = torch.from_numpy(samples)
            layout = DenseLayout(torch.tensor([-(-len(samples) // 160) // 2]), _TOKENS)
            rows = codec.model.embed(codec.model.mel(padded), layout)
            codes = codec.model.quantize(rows, layout)[0]
            parts.append(codes[: window.num_kept].T.short().numpy())
        out.append(np.concatenate(parts, axis=1))
    return out
