"""Deterministic, framework-free test weights (numpy only).

    arrays = make_weights({key: shape, ...})     # {key: np.ndarray}
    digest = blob_sha256(arrays)                 # hex digest over all arrays

Every array depends on nothing but its key name and its shape: not on the torch
version, not on the initialisation order, not on the other keys (one exception:
``*.embed_avg`` is derived from its sibling ``codebook`` and ``cluster_size``).

Random source, per key
    seed   = int.from_bytes(sha256(key.encode("utf-8")).digest()[:16], "little")
    bits   = numpy.random.PCG64(numpy.random.SeedSequence(seed))
    raw    = bits.random_raw(n)          # n = number of elements, uint64, C order
    u      = sum of the four 16-bit limbs of each raw word        (exact integer)
    z      = (u - 131070) / 37837.22     # ~N(0,1): Irwin-Hall sum of 4 uniforms
    value  = float32(offset + scale * z) # evaluated in float64, rounded once
Only integer arithmetic and correctly rounded IEEE-754 operations (+, *, /) are used,
so the result is bit-identical on every platform; there is no libm call and no
dependence on numpy's (unversioned) Generator distributions.

Buffers that a model computes itself (sinusoid tables, ISTFT windows) are skipped:
keep what the module computed.
"""

from __future__ import annotations

import hashlib

import numpy as np

SCHEME = "xy-golden-weights-v1"
_Z_OFFSET = 131070.0  # 4 * 65535 / 2
_Z_DIV = 37837.22  # sqrt(4 * (65536**2 - 1) / 12), rounded: std of the limb sum


def is_computed_buffer(key: str) -> bool:
    """Buffers the module computes at construction time; never generated here."""
    return key.endswith(("positional_embedding", "istft.window"))


def _z(key: str, n: int) -> np.ndarray:
    seed = int.from_bytes(hashlib.sha256(key.encode("utf-8")).digest()[:16], "little")
    raw = np.random.PCG64(np.random.SeedSequence(seed)).random_raw(n)
    raw = np.asarray(raw, dtype=np.uint64).reshape(-1)
    m = np.uint64(0xFFFF)
    u = (
        (raw & m)
        + ((raw >> np.uint64(16)) & m)
        + ((raw >> np.uint64(32)) & m)
        + (raw >> np.uint64(48))
    )
    return (u.astype(np.float64) - _Z_OFFSET) / _Z_DIV


def rule(key: str, shape) -> tuple[float, float]:
    """(offset, scale) of the value distribution of one key."""
    shape = tuple(shape)
    leaf = key.rsplit(".", 1)[-1]
    parent = key.rsplit(".", 2)[-2] if key.count(".") else ""
    if leaf == "weight_g":
        return 1.0, 0.1
    if leaf == "weight_v":
        return 0.0, 0.05
    if leaf == "codebook":
        return 0.0, 0.2
    if leaf == "gamma":
        return 0.2, 0.04
    if leaf == "bias":
        return 0.0, 0.05
    if leaf == "weight" and len(shape) == 1:  # LayerNorm
        return 1.0, 0.1
    gain = {
        "conv1": 3.0,
        "conv2": 3.0,
        "q_proj": 2.5,
        "k_proj": 2.5,  # peaked attention
        "fc2": 0.7,
        "gate_proj": 2.0,
        "up_proj": 2.0,
        "down_proj": 3.0,
        "out": 1.5,  # ISTFT head: some log-magnitudes exceed log(100) and get clipped
    }.get(parent, 1.0)
    if leaf == "weight" and len(shape) == 2:  # Linear [out, in]
        fan_in = shape[1]
    elif leaf == "weight" and len(shape) == 3 and parent in ("deconv1", "deconv2", "up_conv"):
        fan_in = shape[0]  # ConvTranspose1d [in, out, k]
    elif leaf == "weight" and len(shape) == 3:  # Conv1d [out, in/groups, k]
        fan_in = shape[1] * shape[2]
    else:
        raise KeyError(f"no rule for {key} {shape}")
    # square roots of integers: correctly rounded by IEEE-754
    return 0.0, gain / float(np.sqrt(np.float64(fan_in)))


def make_array(key: str, shape) -> np.ndarray:
    shape = tuple(int(s) for s in shape)
    leaf = key.rsplit(".", 1)[-1]
    n = 1
    for s in shape:
        n *= s
    if leaf == "inited":
        return np.ones(shape, dtype=np.bool_)
    if leaf == "cluster_size":
        z = _z(key, n)
        return (20.0 + 10.0 * np.abs(z)).astype(np.float32).reshape(shape)
    if leaf == "embed_avg":
        base = key[: -len("embed_avg")]
        book = make_array(base + "codebook", shape)
        size = make_array(base + "cluster_size", shape[:1])
        return (book * size[:, None]).astype(np.float32)
    offset, scale = rule(key, shape)
    z = _z(key, n)
    return (offset + scale * z).astype(np.float32).reshape(shape)


def make_weights(shapes: dict) -> dict:
    """{key: shape} -> {key: array}, sorted by key, computed buffers left out."""
    return {k: make_array(k, shapes[k]) for k in sorted(shapes) if not is_computed_buffer(k)}


def update_digest(h, key: str, a: np.ndarray) -> None:
    a = np.ascontiguousarray(a)
    if a.dtype.byteorder == ">":
        a = a.astype(a.dtype.newbyteorder("<"))
    head = f"{key}|{a.dtype.name}|{','.join(map(str, a.shape))}\n"
    h.update(head.encode("utf-8"))
    h.update(a.tobytes())


def blob_sha256(arrays: dict) -> str:
    h = hashlib.sha256()
    h.update((SCHEME + "\n").encode("utf-8"))
    for k in sorted(arrays):
        update_digest(h, k, arrays[k])
    return h.hexdigest()


if __name__ == "__main__":
    demo = {
        "a.conv1.weight": (4, 3, 3),
        "a.layer_norm.weight": (5,),
        "q.quantizers.0.codebook": (8, 4),
    }
    w = make_weights(demo)
    for k, v in w.items():
        print(k, v.dtype, v.shape, float(v.ravel()[0]), float(v.ravel()[-1]))
    print(blob_sha256(w))
