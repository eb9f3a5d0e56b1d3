"""The codecs that the conformance test holds to the contract, and the clips it gives them."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import yaml
from safetensors.torch import save_file

from tests.support import secousti_case
from tests.support.moss_case import Group, write_release
from tests.support.narrow_xy import narrow_params, narrow_state
from tests.support.tiny_codecs import MAKERS
from xy_codec import load_codec
from xy_codec.contract import Codec, Option


class Case(NamedTuple):
    """A codec as `load_codec` takes it."""

    source: str
    options: Mapping[str, Option] = {}


def _narrow_xy(folder: Path) -> Case:
    (folder / "config.yaml").write_text(yaml.safe_dump({"generator_params": narrow_params()}))
    save_file(narrow_state(), folder / "weights.safetensors")
    return Case(str(folder), {"overlap_seconds": 0.0, "depth": 5})


def _moss_shards(folder: Path) -> Case:
    return Case(str(write_release(folder, Group("small3"), num_shards=3)), {"depth": 7})


def _packs(make: Callable[[Path], Case], folder: Path) -> Case:
    source, options = make(folder)
    return Case(source, {**options, "program": "pack"})


def _tiny(make: Callable[[Path], Path], folder: Path) -> Case:
    return Case(str(make(folder)))


def _secousti(folder: Path) -> Case:
    return Case(str(secousti_case.Group("small_21").write_release(folder)))


# Each makes its checkpoint in a folder, where there is something to make.
CASES: dict[str, Callable[[Path], Case]] = {
    "fake": lambda _: Case("fake"),
    "fake-odd": lambda _: Case("fake-odd"),
    "moss-small": _moss_shards,
    "moss-small-packs": partial(_packs, _moss_shards),
    "secousti-small": _secousti,
    "secousti-small-packs": partial(_packs, _secousti),
    "xy-narrow": _narrow_xy,
    "xy-narrow-packs": partial(_packs, _narrow_xy),
    "xy-nano": lambda _: Case("xy-nano"),
    **{name: partial(_tiny, make) for name, make in MAKERS.items()},
}
# Too slow for every run of the tests.
SLOW = ("xy-nano", "dac", "higgs_audio_v2_tokenizer", "neucodec", "snac", "xcodec", "xcodec2")


def load_case(case: Case) -> Codec:
    """The codec of a case, on the CPU."""
    return load_codec(case.source, device="cpu", options=case.options)


def clips_for(codec: Codec, longest_seconds: float) -> list[np.ndarray]:
    """Twenty clips of noise and tones at the codec's rate: edges of frames, and up to a length."""
    shape = codec.shape
    rng = np.random.default_rng(5)
    hop, longest = shape.samples_per_frame, int(longest_seconds * shape.input_rate_hz)
    edges = [0, 1, hop - 1, hop, hop + 1, shape.min_samples - 1, shape.min_samples]
    lengths = [*edges, *rng.integers(hop, longest, 12).tolist(), longest]
    return [_sound(length, shape.input_rate_hz, rng) for length in lengths]


def _sound(length: int, rate_hz: int, rng: np.random.Generator) -> np.ndarray:
    seconds = np.arange(length) / rate_hz
    tone = np.sin(2 * np.pi * rng.uniform(90, 400) * seconds)
    return (0.2 * tone + 0.05 * rng.standard_normal(length)).astype(np.float32)


def digests(cases: Sequence[Case], longest_seconds: float) -> list[str]:
    """The hash of each case, whose codec is loaded here."""
    return [digest(load_case(case), longest_seconds) for case in cases]


def digest(codec: Codec, longest_seconds: float) -> str:
    """A hash over all codes and side values of a codec."""
    whole = hashlib.sha256()
    for codes, side in codec.encode_with_side(clips_for(codec, longest_seconds)):
        whole.update(repr((codes.shape, str(codes.dtype))).encode())
        whole.update(codes.tobytes())
        whole.update(b"" if side is None else side.tobytes())
    return whole.hexdigest()
