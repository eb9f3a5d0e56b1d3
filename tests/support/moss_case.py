"""Expected outputs of MOSS-Audio-Tokenizer's reference, and models with the weights behind them."""

import json
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

from tests.golden.moss.weights import make_weights
from tests.golden.weights import blob_sha256
from tests.support.golden_case import SHARED
from tests.support.places import GOLDEN
from xy_codec.moss.codec import MossCodec
from xy_codec.moss.config import CodecConfig
from xy_codec.moss.loading import assemble
from xy_codec.moss.model import MossAudioTokenizer
from xy_codec.moss.state_dict import build_model
from xy_codec.weights.checkpoint import Checkpoint

# A code that differs where the second-best entry is nearer than this is rounding.
TIE = 1e-4


def folder() -> Path:
    """The complete set where it is there, the bundled one otherwise."""
    complete = SHARED.parent / "golden_moss"
    return complete if (complete / "manifest.json").exists() else GOLDEN / "moss"


@dataclass(frozen=True)
class Group:
    """One model with all cases that were recorded for it."""

    name: str

    @property
    def path(self) -> Path:
        return folder() / self.name

    @cached_property
    def info(self) -> dict[str, Any]:
        return dict(json.loads((self.path / "info.json").read_text()))

    @cached_property
    def shapes(self) -> dict[str, list[int]]:
        return dict(json.loads((self.path / "shapes.json").read_text()))

    @property
    def config(self) -> CodecConfig:
        return CodecConfig.from_mapping(self.info["config"])

    def cases(self, kind: str) -> list[str]:
        """Names of the recorded `cases` or `decode_cases` that are present."""
        return [name for name in self.info[kind] if (self.path / f"{name}.npz").exists()]

    def input(self, case: str) -> dict[str, Any]:
        """What `golden_case.inputs` takes."""
        return dict(self.info["cases"][case])

    def state(self) -> dict[str, torch.Tensor]:
        """The synthetic weights under the names of the release, checked against their digest."""
        arrays = make_weights(self.shapes)
        assert blob_sha256(arrays) == self.info["weights_sha256"]
        return {key: torch.from_numpy(array) for key, array in arrays.items()}

    def checkpoint(self) -> Checkpoint:
        """The weights as if read from a file."""
        return Checkpoint(self.path, self.state(), {}, "0" * 64)

    def model(self) -> MossAudioTokenizer:
        return build_model(self.config, self.checkpoint())

    def recorded(self, case: str) -> dict[str, np.ndarray]:
        """The arrays of one case."""
        with np.load(self.path / f"{case}.npz") as data:
            return {key.removesuffix("/0"): data[key] for key in data}


def wrong_codes(expected: dict[str, np.ndarray], codes: np.ndarray) -> tuple[int, int]:
    """How many codes differ in all, and in how many frames the first one that does is a tie."""
    wanted = expected["codes"].astype(codes.dtype)
    assert codes.shape == wanted.shape
    differs = codes != wanted
    first = differs.argmax(axis=0)
    ties = [frame for frame in np.flatnonzero(differs.any(axis=0))
            if expected["gap"][first[frame], frame] < TIE]  # fmt: skip
    return int(np.delete(differs, ties, axis=1).sum()), len(ties)


def wave_error(expected: dict[str, np.ndarray], wave: np.ndarray, depth: int) -> float:
    """Largest difference from the waveform recorded for the first `depth` codebooks; 0 is all."""
    assert len(wave) == expected["wavlen"]
    name = str(depth or "")
    if f"wav{name}" in expected:
        return float(np.abs(wave - expected[f"wav{name}"]).max(initial=0.0))
    picked = np.concatenate([wave[start:stop] for start, stop in expected["wavwin"]])
    return float(np.abs(picked - expected[f"wavval{name}"]).max(initial=0.0))


def recorded_depths(expected: dict[str, np.ndarray]) -> list[int]:
    """The numbers of codebooks whose waveforms were recorded; 0 is all."""
    names = {key.removeprefix("wavval").removeprefix("wav") for key in expected if "wav" in key}
    return [int(name or 0) for name in sorted(names) if name == "" or name.isdigit()]


@lru_cache(maxsize=4)
def small_codec(name: str, program: str = "tiles") -> MossCodec:
    """The codec of a small group on the CPU; kept, because many tests want it."""
    group = Group(name)
    return assemble(group.config, group.checkpoint(), "cpu", {"program": program})


def write_release(folder: Path, group: Group, num_shards: int) -> Path:
    """A folder as the release lays it out: config.json, shards and their index."""
    (folder / "config.json").write_text(json.dumps(group.info["config"]))
    state = group.state()
    names = [f"model-{n:05}-of-{num_shards:05}.safetensors" for n in range(1, num_shards + 1)]
    where = {key: names[n * num_shards // len(state)] for n, key in enumerate(state)}
    for name in names:
        save_file({key: state[key] for key in state if where[key] == name}, folder / name)
    index = {"metadata": {"total_size": 0}, "weight_map": where}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder
