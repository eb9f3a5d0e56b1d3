"""Codecs and inputs of the stages: deterministic weights of small and full size, and xy-nano.

Weights depend on the names and shapes of keys alone, so nothing has to be downloaded. The
reference's outputs for them are in `tests/golden` (small) and, if carried, in `.data/golden`.
"""

import copy
import json
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.bench.clips import emilia_lengths
from pipeline.bench.clips import waveforms as speech_like_clips
from tests.benchmarks.reference_way import with_dense_attention
from tests.golden import weights
from tests.gpu.flac import read_flac
from tests.support.golden_case import Group
from tests.support.places import GOLDEN, ROOT
from xy_codec.engine.geometry import geometry_for
from xy_codec.engine.windows import WindowPlan
from xy_codec.loading import load_codec
from xy_codec.weights.checkpoint import Checkpoint
from xy_codec.xy.config import CodecConfig
from xy_codec.xy.loading import assemble
from xy_codec.xy.model import XYTokenizer
from xy_codec.xy.packed_codec import PackedCodec
from xy_codec.xy.released import released_config
from xy_codec.xy.state_dict import build_model, released_state

CARRIED = ROOT / ".data" / "golden"
SMALL, FULL = "small_xy", "full_xy"
# The length of the vocoder head's bias tells the variant: the one at 16 kHz.
_HEAD_SIZE = 642
# Short cases need no whole file, which takes Python seconds to read.
_SHORT_INPUT, _LONGEST_INPUT = 16_000, 10**9
Wave = NDArray[np.float32]


def golden_folders() -> list[Path]:
    """Where recorded outputs may be: `XYTOK_GOLDEN`, carried, beside the checkout, bundled."""
    named = os.environ.get("XYTOK_GOLDEN")
    places = [CARRIED, ROOT.parent / "shared" / "golden", GOLDEN]
    return [Path(named), *places] if named else places


@dataclass(frozen=True)
class FoundGroup(Group):
    """A recorded group, in the first folder that has it."""

    @property
    def path(self) -> Path:
        for folder in golden_folders():
            if (folder / self.name / "info.json").exists():
                return folder / self.name
        return GOLDEN / self.name

    def waves(self, case: dict[str, Any]) -> list[Wave]:
        """The waveforms of an encode case; FileNotFoundError where an input is not here."""
        return [_input(name, length <= _SHORT_INPUT)[:length] for name, length in case["inputs"]]


@cache
def _input(name: str, is_short: bool) -> Wave:
    if name == "zeros":
        return np.zeros(16000, np.float32)
    if name == "cat":
        return np.concatenate([_input(f"speech{i}", is_short=False) for i in range(6)])
    for folder in golden_folders():
        path = folder / "inputs" / f"{name}.flac"
        if path.exists():
            return read_flac(path, _SHORT_INPUT if is_short else _LONGEST_INPUT)
    raise FileNotFoundError(f"recorded input {name}.flac is not here")


class Models:
    """Codecs on one device; each is built once and kept."""

    def __init__(self, device: torch.device, *, is_small: bool) -> None:
        self.device = device
        self.is_small = is_small
        self._arrays: dict[tuple[str, tuple[int, ...]], NDArray[Any]] = {}
        self._codecs: dict[tuple[str, str, str], PackedCodec] = {}
        self._reference: XYTokenizer | None = None

    @property
    def main(self) -> str:
        """The group that speed is measured with."""
        return SMALL if self.is_small else FULL

    def codec(
        self, group: str, precision: str, overlap: float = 10.0, *, program: str = "tiles"
    ) -> PackedCodec:
        """The codec of a group; `xy-nano` is the bundled checkpoint.

        The program is `tiles`, `pack`, `graph` or `compiled`; all of them share the weights.
        """
        key = (group, precision, program)
        if key not in self._codecs:
            if program == "tiles":
                self._codecs[key] = self._open(group, precision)
            else:
                self._codecs[key] = _running(self.codec(group, precision), program)
                if self.is_small:
                    codec = self._codecs[key]
                    codec.geometry = replace(codec.geometry, tile_steps=1024, pack_steps=1024)
        codec = self._codecs[key]
        codec.plan = WindowPlan.of(16000, 30, 1280, overlap)
        return codec

    def _open(self, group: str, precision: str) -> PackedCodec:
        device = str(self.device)
        if group == "xy-nano":
            codec = cast(PackedCodec, load_codec(group, precision=precision, device=device))
        else:
            codec = assemble(*self.weights(group), precision, device)
        if self.is_small:
            codec.geometry = replace(codec.geometry, tile_steps=512, pack_steps=1024)
        return codec

    def reference(self) -> XYTokenizer:
        """The plain model of the main group with the reference's attention."""
        if self._reference is None:
            plain = build_model(*self.weights(self.main))
            self._reference = with_dense_attention(plain).to(self.device)
        return self._reference

    def forget(self, group: str) -> None:
        """Give up the memory of a group's codecs."""
        self._codecs = {key: codec for key, codec in self._codecs.items() if key[0] != group}
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def weights(self, group: str) -> tuple[CodecConfig, Checkpoint]:
        """Configuration and weights of a group; those of full size need no recorded group."""
        found = FoundGroup(group)
        if found.exists:
            config, shapes = CodecConfig.from_mapping(found.info["params"]), found.shapes
        else:
            config = released_config(_HEAD_SIZE)
            with torch.device("meta"):
                state = XYTokenizer(config).state_dict()
            shapes = {key: list(tensor.shape) for key, tensor in state.items()}
        state = released_state(
            {key: torch.from_numpy(each) for key, each in self.arrays(shapes).items()}
        )
        metadata = {"format": "xytok-inference", "name": group}
        return config, Checkpoint(found.path, state, metadata, "0" * 64)

    def arrays(self, shapes: dict[str, list[int]]) -> dict[str, NDArray[Any]]:
        """Arrays by key; what another group had under the same key and shape is used again."""
        wanted = {
            key: (key, tuple(shape))
            for key, shape in shapes.items()
            if not weights.is_computed_buffer(key)
        }
        missing = [each for each in wanted.values() if each not in self._arrays]
        with ThreadPoolExecutor() as pool:  # numpy works outside of the GIL here
            made = pool.map(lambda each: weights.make_array(*each), missing)
            self._arrays.update(zip(missing, made, strict=True))
        return {key: self._arrays[wanted[key]] for key in wanted}


def _running(codec: PackedCodec, program: str) -> PackedCodec:
    """The same codec with packs of one shape; `assemble` opens such a one with its own weights."""
    other = copy.copy(codec)
    other.counters = replace(codec.counters)
    other.geometry = geometry_for(codec.device, "compiled" if program == "compiled" else "pack")
    other._as_graph = program != "pack"
    return other


def emilia_clips(count: int) -> list[Wave]:
    """Artificial voices of Emilia's lengths."""
    return speech_like_clips(emilia_lengths(count), 16000)


def nano_speech(codec: PackedCodec, count: int) -> list[Wave]:
    """Speech that xy-nano decodes from its recorded codes: real sentences, without an MP3."""
    codes = json.loads((GOLDEN / "xy_nano.json").read_text())["codes"]
    return codec.decode([np.asarray(each, np.int16) for each in list(codes.values())[:count]])
