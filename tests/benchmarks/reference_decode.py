"""The reference's way of decoding: batches of 8 padded to the longest, a dense additive mask."""

from collections.abc import Sequence

import numpy as np
import torch

from tests.benchmarks.reference_way import DenseLayout
from xy_codec.engine.packed_codec import NeuralCodec

_TOKENS_PER_FRAME = 4


@torch.inference_mode()
def decode_as_reference(
    codec: NeuralCodec, codes: Sequence[np.ndarray], batch_size: int = 8
) -> list[np.ndarray]:
    """Waveforms of each clip, window after window of the longest clip of its batch."""
    out: list[np.ndarray] = []
    for start in range(0, len(codes), batch_size):
        out += _decode_batch(codec, codes[start : start + batch_size])
    return out


def _decode_batch(codec: NeuralCodec, codes: Sequence[np.ndarray]) -> list[np.ndarray]:
    samples = codec.model.config.decoder_upsample_rate
    longest = max(matrix.shape[1] for matrix in codes)
    waves = np.zeros((len(codes), longest * samples), np.float32)
    for window in codec.plan.decode_windows(longest):
        width = window.stop - window.start
        indices = torch.zeros(len(codes), width, codes[0].shape[0], dtype=torch.long)
        lengths = []
        for row, matrix in enumerate(codes):
            part = np.ascontiguousarray(matrix[:, window.start : window.stop].T)
            indices[row, : len(part)] = torch.from_numpy(part)
            lengths.append(len(part) * _TOKENS_PER_FRAME)
        layout = DenseLayout(torch.tensor(lengths), width * _TOKENS_PER_FRAME)
        spectrum = codec.model.reconstruct(codec.model.dequantize(indices, layout), layout)
        wave = codec.model.vocos.head.to_samples(spectrum)
        first, kept = window.start * samples, window.num_kept * samples
        waves[:, first : first + kept] = wave[:, :kept].numpy()
    return [wave[: matrix.shape[1] * samples] for wave, matrix in zip(waves, codes, strict=True)]
