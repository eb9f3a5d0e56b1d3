"""Reads expected outputs of the reference and builds codecs with the weights they belong to."""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tests.golden import weights
from tests.support.places import GOLDEN, ROOT
from xy_codec.weights.checkpoint import Checkpoint
from xy_codec.xy.config import CodecConfig, VocoderConfig
from xy_codec.xy.loading import assemble
from xy_codec.xy.packed_codec import PackedCodec
from xy_codec.xy.state_dict import released_state

SHARED = Path(os.environ.get("XYTOK_GOLDEN", ROOT.parent / "shared" / "golden"))
WITHOUT_GOLDEN = (
    "the complete golden outputs are too large for the repository and are not on this "
    "machine; `XYTOK_GOLDEN` names their folder"
)
# Beside other jobs, threads of one small product wait for each other longer than they work.
torch.set_num_threads(1)


def folder() -> Path:
    """The complete set where it is there, the bundled one otherwise."""
    return SHARED if (SHARED / "manifest.json").exists() else GOLDEN


@dataclass(frozen=True)
class Group:
    """One model with all cases that were recorded for it."""

    name: str

    @property
    def path(self) -> Path:
        return folder() / self.name

    @property
    def exists(self) -> bool:
        return (self.path / "info.json").exists()

    @cached_property
    def info(self) -> dict[str, Any]:
        return dict(json.loads((self.path / "info.json").read_text()))

    @cached_property
    def shapes(self) -> dict[str, list[int]]:
        return dict(json.loads((self.path / "shapes.json").read_text()))

    def cases(self, kind: str) -> list[str]:
        """Names of the recorded `cases` or `decode_cases` that are present."""
        if not self.exists:
            return []
        return [name for name in self.info[kind] if (self.path / f"{name}.npz").exists()]

    def arrays(self) -> dict[str, np.ndarray]:
        """The synthetic weights, checked against their recorded digest."""
        arrays = weights.make_weights(self.shapes)
        assert weights.blob_sha256(arrays) == self.info["weights_sha256"]
        return dict(arrays)


def checkpoint_of(group: Group) -> Checkpoint:
    """The group's weights as if read from a file without the buffers a module computes."""
    state = released_state({key: torch.from_numpy(a) for key, a in group.arrays().items()})
    return Checkpoint(
        group.path, state, {"format": "xytok-inference", "name": group.name}, "0" * 64
    )


@lru_cache(maxsize=4)
def small_codec(
    name: str, overlap: float, precision: str = "exact", depth: int | None = None
) -> PackedCodec:
    """The codec of a small group on the CPU; kept, because many tests want it."""
    group = Group(name)
    config = CodecConfig.from_mapping(group.info["params"])
    options = {"overlap_seconds": overlap} | ({"depth": depth} if depth else {})
    return assemble(config, checkpoint_of(group), precision, "cpu", options=options)


@lru_cache(maxsize=8)
def _input(name: str) -> np.ndarray:
    if name == "zeros":
        return np.zeros(16000, np.float32)
    if name == "cat":
        return np.concatenate([_input(f"speech{i}") for i in range(6)])
    # Not needed, and not installed, where only the script of tests/gpu runs.
    import soundfile

    samples, _ = soundfile.read(folder() / "inputs" / f"{name}.flac", dtype="float32")
    return np.asarray(samples)


def inputs(case: dict[str, Any]) -> list[np.ndarray]:
    """The waveforms of an encode case."""
    return [_input(name)[:length] for name, length in case["inputs"]]


def recorded(group: Group, case: str) -> dict[str, np.ndarray]:
    """The arrays of one case."""
    with np.load(group.path / f"{case}.npz") as data:
        return dict(data)


def compare_codes(expected: dict[str, np.ndarray], got: list[np.ndarray]) -> tuple[int, int]:
    """Number of frames that differ at a clear gap, and of those that differ at a tie."""
    clear = ties = 0
    for i, codes in enumerate(got):
        wanted, gap = expected[f"codes/{i}"].astype(np.int16), expected[f"gap/{i}"]
        assert codes.shape == wanted.shape
        assert codes.dtype == np.int16
        for frame in np.flatnonzero((codes != wanted).any(axis=0)):
            first = int(np.argmax(codes[:, frame] != wanted[:, frame]))
            if gap[first, frame] < 1e-3:
                ties += 1
            else:
                clear += 1
    return clear, ties


def wave_error(
    codec: PackedCodec, expected: dict[str, np.ndarray], waves: list[np.ndarray], overlap: float
) -> float:
    """Largest difference of the decoded waveforms from the recorded samples."""
    worst = 0.0
    lengths = [int(expected[f"wavlen/{i}"]) for i in range(len(waves))]
    assert [len(wave) for wave in waves] == lengths
    for i, wave in enumerate(waves):
        clean = _untouched(codec, lengths, i, overlap)
        for (start, stop), samples in _segments(expected, i):
            difference = np.abs(wave[start:stop] - samples)[clean[start:stop]]
            worst = max(worst, float(difference.max(initial=0.0)))
    return worst


def _segments(expected: dict[str, np.ndarray], i: int) -> Iterator[tuple[Any, np.ndarray]]:
    if f"wav/{i}" in expected:
        yield (0, len(expected[f"wav/{i}"])), expected[f"wav/{i}"]
        return
    at = 0
    for start, stop in expected[f"wavwin/{i}"]:
        yield (start, stop), expected[f"wavval/{i}"][at : at + stop - start]
        at += stop - start


def _untouched(codec: PackedCodec, lengths: list[int], i: int, overlap: float) -> np.ndarray:
    """Samples that the reference's own padding, in a batch with longer clips, did not change."""
    vocos = codec.config.vocos_kwargs
    assert isinstance(vocos, VocoderConfig)
    up = codec.config.decoder_upsample_rate
    reach = 3 * (1 + vocos.num_layers) * vocos.hop_size + (vocos.n_fft - vocos.hop_size) // 2
    per = round((30 - overlap) * 12.5)
    clean = np.ones(lengths[i], bool)
    for first in range(0, lengths[i] // up, per):
        ends = [min(first + 375, length // up) for length in lengths]
        if ends[i] < max(ends):
            clean[max(first * up, ends[i] * up - reach) : min(ends[i], first + per) * up] = False
    return clean
