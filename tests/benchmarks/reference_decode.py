"""The reference's way of decoding: batches of 8 padded to the longest, a dense additive mask."""

from collections.abc import Sequence

import numpy as np
import torch

from xy_codec.engine.windows import WindowPlan
from xy_codec.xy.model import XYTokenizer


@torch.inference_mode()
def decode_as_reference(
    model: XYTokenizer, plan: WindowPlan, codes: Sequence[np.ndarray], batch_size: int = 8
) -> list[np.ndarray]:
    """Waveforms of each clip, window after window of the longest clip of its batch."""
    out: list[np.ndarray] = []
    for start in range(0, len(codes), batch_size):
        out += _decode_batch(model, plan, codes[start : start + batch_size])
    return out


def _decode_batch(
    model: XYTokenizer, plan: WindowPlan, codes: Sequence[np.ndarray]
) -> list[np.ndarray]:
    samples = model.config.decoder_upsample_rate
    longest = max(matrix.shape[1] for matrix in codes)
    waves = np.zeros((len(codes), longest * samples), np.float32)
    for window in plan.decode_windows(longest):
        parts = [np.ascontiguousarray(matrix[:, window.start : window.stop]) for matrix in codes]
        lengths = [part.shape[1] for part in parts]
        padded = torch.zeros(len(codes), len(codes[0]), max(lengths), dtype=torch.long)
        for clip, part in zip(padded, parts, strict=True):
            clip[:, : part.shape[1]] = torch.from_numpy(part)
        wave = model.decode(padded, torch.tensor(lengths))
        first, kept = window.start * samples, window.num_kept * samples
        waves[:, first : first + kept] = wave[:, :kept].numpy()
    return [wave[: matrix.shape[1] * samples] for wave, matrix in zip(waves, codes, strict=True)]
