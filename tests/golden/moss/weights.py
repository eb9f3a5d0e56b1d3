"""Test weights of MOSS-Audio-Tokenizer: random source of `tests/golden/weights.py`, other scales.

The scales make attention peaked, so that window and rotation matter, and keep the residual changing
through all codebooks.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from tests.golden.weights import _z

_GAINS = {"linear2": 0.7, "in_projs": 2.0}


def make_array(key: str, shape: Sequence[int]) -> np.ndarray:
    """The array of one key of the release."""
    offset, scale = _distribution(key, shape)
    values = offset + scale * _z(key, math.prod(shape))
    return values.astype(np.float32).reshape(shape)


def make_weights(shapes: Mapping[str, Sequence[int]]) -> dict[str, np.ndarray]:
    """All arrays, sorted by key."""
    return {key: make_array(key, shapes[key]) for key in sorted(shapes)}


def _distribution(key: str, shape: Sequence[int]) -> tuple[float, float]:
    """Mean and deviation of a key's values."""
    half, *_, parent, leaf = key.split(".")
    fixed = {"original0": (1.0, 0.1), "original1": (0.0, 0.05), "scale": (0.3, 0.06),
             "bias": (0.0, 0.05)}  # fmt: skip
    if leaf in fixed:
        return fixed[leaf]
    if parent == "codebook":
        return 0.0, 0.3
    if len(shape) == 1:
        return 1.0, 0.1
    gain = _GAINS.get(key.split(".")[-3] if parent == "0" else parent, 1.0)
    if key == "encoder.1.input_proj.weight":
        gain = 8.0  # the values of a waveform are small
    if half == "decoder" and parent == "output_proj":
        gain = 0.15
    return 0.0, gain / math.sqrt(shape[1])
