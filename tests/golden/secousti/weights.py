"""Deterministic weights of the recorded SecoustiCodec models, from keys and shapes alone."""

import hashlib
import math

import numpy as np

from tests.golden.weights import _z, update_digest

_SCHEME = "secousti-golden-weights-v1"
# Lengths of weight-normed convolutions, by the first part of the key.
_LENGTHS = {
    "conv_pre": 0.3,
    "ups": 2.0,
    "resblocks": 0.5,
    "source_resblocks": 0.5,
    "conv_post": 1.3,
    "f0_predictor": 1.5,
}
# (offset, scale) of keys that follow no rule.
_EXACT = {
    "f0_predictor.classifier.bias": (60.0, 0.0),
    "conv_post.bias": (-1.0, 0.1),
    "m_source.l_linear.weight": (0.0, 2.0),
}
_NORMS = {"weight": (1.0, 0.1), "bias": (0.0, 0.1), "running_mean": (0.0, 0.2)}
_LEAVES = {"scale": (0.3, 0.05), "alpha": (1.0, 0.15), "original1": (0.0, 0.05)}


def make_weights(shapes, overrides=None):
    """{key: shape} -> {key: array}; `overrides` replaces the values of some keys."""
    arrays = {key: _array(key, tuple(shape)) for key, shape in sorted(shapes.items())}
    for key, values in (overrides or {}).items():
        arrays[key] = np.asarray(values, np.float32)
    return arrays


def normal(name, count):
    """About normal values in float64 that depend on the name alone."""
    return _z(name, count)


def blob_sha256(arrays):
    """The digest that is recorded beside a model's cases."""
    digest = hashlib.sha256(f"{_SCHEME}\n".encode())
    for key in sorted(arrays):
        update_digest(digest, key, arrays[key])
    return digest.hexdigest()


def _array(key, shape):
    if key.endswith("num_batches_tracked"):
        return np.array(1000, np.int64)
    values = _z(key, math.prod(shape))
    if key.endswith("running_var"):
        return (0.5 + 0.5 * np.abs(values)).astype(np.float32).reshape(shape)
    offset, scale = _rule(key, shape)
    return (offset + scale * values).astype(np.float32).reshape(shape)


def _rule(key, shape):
    """Offset and scale of a key's values."""
    parts = key.split(".")
    leaf, parent = parts[-1], parts[-2]
    if key in _EXACT:
        return _EXACT[key]
    if leaf in _LEAVES:
        return _LEAVES[leaf]
    if parent.startswith("batchnorm_"):
        return _NORMS[leaf]
    if parent in ("norm1", "norm2"):
        return (1.0, 0.1) if leaf == "weight" else (0.0, 0.05)
    if leaf == "original0":
        length = 0.5 if key.startswith("f0_predictor.condnet.0.") else _LENGTHS[parts[0]]
        return length, 0.1 * length
    if leaf.startswith("bias"):
        return 0.0, 0.05
    if leaf == "in_proj_weight":
        return 0.0, 1.5 / _root(shape[1])
    if parent == "gru":
        return 0.0, (0.5 if leaf == "weight_ih_l0" else 1.0) / _root(shape[1])
    return 0.0, _gain(key, parent) / _root(_fan_in(parent, shape))


def _fan_in(parent, shape):
    if parent == "convtr":
        return 2 * shape[0]  # two taps meet in every output
    if len(shape) == 4:
        return shape[1] * shape[2]  # an image one column wide
    return math.prod(shape[1:])


def _gain(key, parent):
    if key == "encoder.model.0.conv.conv.weight":
        return 0.5
    if key == "f0_predictor.classifier.weight":
        return 100.0
    if parent.startswith("conv2d_"):
        return 0.4 if parent == "conv2d_1" else 1.2
    return {"project_in": 2.0, "linear1": 1.5}.get(parent, 1.0)


def _root(number):
    return float(np.sqrt(np.float64(number)))  # correctly rounded by IEEE-754
