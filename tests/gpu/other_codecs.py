"""Stage 6: MOSS-Audio-Tokenizer and SecoustiCodec: recorded codes, company, speed.

In tiles first, then in packs of one shape, whose kernel could take the process with it. Small
models have deterministic weights and recorded outputs; speed is that of the released sizes with
random weights.
"""

import copy
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pipeline.bench.clips import emilia_lengths
from pipeline.bench.clips import waveforms as speech_like_clips
from tests.golden.moss.weights import make_weights as make_moss_weights
from tests.golden.secousti.weights import make_weights as make_secousti_weights
from tests.gpu.device_trace import trace
from tests.gpu.encoding import timed
from tests.gpu.flac import read_flac
from tests.gpu.models import Models, Wave
from tests.gpu.record import Record
from tests.support.places import GOLDEN
from xy_codec.contract import Codec
from xy_codec.engine.causal_stream import CausalStream
from xy_codec.moss import loading as moss
from xy_codec.moss.config import CodecConfig as MossConfig
from xy_codec.moss.model import MossAudioTokenizer
from xy_codec.moss.released import released_config as released_moss
from xy_codec.secousti import loading as secousti
from xy_codec.secousti.model import SecoustiModel
from xy_codec.secousti.noise import draw_noise, noise_jumps, noise_states
from xy_codec.secousti.released import released_config as released_secousti
from xy_codec.secousti.state_dict import codec_state, vocoder_state
from xy_codec.weights.checkpoint import Checkpoint

# A code that differs where the second-best is nearer than this is rounding.
_TIE = 1e-4
_SECOUSTI_STRIDES = {"secousti_21": 2, "secousti_86": 1}


@dataclass(frozen=True)
class SmallModel:
    """A recorded model: how its codec is made, and what each case puts in and expects."""

    name: str
    folder: Path
    open: Callable[[str], CausalStream]

    def cases(self) -> list[str]:
        """Recorded cases of encoding."""
        return [case for case in self._info()["cases"] if (self.folder / f"{case}.npz").exists()]

    def wave(self, case: str) -> Wave:
        """What goes in."""
        info = self._info()["cases"][case]
        name, length = info["inputs"][0] if "inputs" in info else (info["input"], info["samples"])
        if name == "zeros":
            return np.zeros(length, np.float32)
        return read_flac(GOLDEN / "inputs" / f"{name}.flac", length) * np.float32(
            info.get("gain", 1)
        )

    def expected(self, case: str) -> tuple[np.ndarray, np.ndarray]:
        """Codes `[K, T]` and the distance of each from the second-best."""
        with np.load(self.folder / f"{case}.npz") as data:
            arrays = {key.removesuffix("/0"): data[key] for key in data}
        if "tokens" in arrays:
            return arrays["tokens"][None], arrays["gap"][None]
        return arrays["codes"], arrays["gap"]

    def _info(self) -> dict[str, Any]:
        return dict(json.loads((self.folder / "info.json").read_text()))


def run(record: Record, models: Models) -> None:
    """Codes and company of the small models first, then the speed of the released sizes."""
    device = str(models.device)
    # On a CPU nothing is captured.
    programs = ("tiles", "pack", "graph") if models.device.type == "cuda" else ("tiles", "pack")
    record.attempt("noise", noise, models.device)
    for program in programs[:2]:
        for small in small_models():
            name = f"goldens.{program}.{small.name}"
            record.attempt(name, goldens, small, device, program)
    opened: dict[str, CausalStream] = {}
    for program in programs:
        if models.is_small:
            codec = running(small_models()[-1].open(device), program)
            second = speech_like_clips([1.0], codec.shape.input_rate_hz)
            record.attempt(f"speed.{program}.secousti_small_86", speed, models, codec, second)
            continue
        for name in (*_SECOUSTI_STRIDES, "moss"):
            record.attempt(f"speed.{program}.{name}", released_speed, models, name, program, opened)


def running(codec: CausalStream, program: str) -> CausalStream:
    """The same codec in another program; `assemble` opens such a one with its own weights."""
    if program == "tiles":
        return codec
    other = copy.copy(codec)
    other.counters = replace(codec.counters)
    other.geometry = codec.geometry.with_program("pack")
    other._as_graph = program == "graph"
    return other


def small_models() -> list[SmallModel]:
    """Those whose outputs are in the repository."""
    found = []
    for name in ("small3", "small4", "small4w"):
        folder = GOLDEN / "moss" / name
        found.append(SmallModel(f"moss_{name}", folder, partial(_open_small_moss, folder)))
    for name in ("small_21", "small_86"):
        folder = GOLDEN / "secousti" / name
        found.append(SmallModel(f"secousti_{name}", folder, partial(_open_small_secousti, folder)))
    return found


def _open_small_moss(folder: Path, device: str) -> CausalStream:
    shapes = json.loads((folder / "shapes.json").read_text())
    config = MossConfig.from_mapping(json.loads((folder / "info.json").read_text())["config"])
    state = {key: torch.from_numpy(each) for key, each in make_moss_weights(shapes).items()}
    return moss.assemble(config, Checkpoint(folder, state, {}, "0" * 64), device)


def _open_small_secousti(folder: Path, device: str) -> CausalStream:
    shapes = json.loads((folder / "shapes.json").read_text())
    config = json.loads((folder / "info.json").read_text())["config"]
    bias = {"fsq.project_in.bias": config["project_in_bias"]}
    codec = make_secousti_weights(shapes["codec"], bias)
    vocoder = make_secousti_weights(shapes["hift"])
    state = codec_state({key: torch.from_numpy(each) for key, each in codec.items()})
    state |= vocoder_state({key: torch.from_numpy(each) for key, each in vocoder.items()})
    return secousti.assemble(Checkpoint(folder, state, {}, "0" * 64), device)


def goldens(small: SmallModel, device: str, program: str) -> dict[str, int]:
    """Codes that differ from the recorded ones, and those that differ in company."""
    codec = running(small.open(device), program)
    found = {"cases": 0, "codes": 0, "wrong": 0, "ties": 0, "differ_in_company": 0}
    waves = [small.wave(case) for case in small.cases()]
    alone = [codec.encode([wave])[0] for wave in waves]
    for case, codes in zip(small.cases(), alone, strict=True):
        wanted, gap = small.expected(case)
        differs = codes != wanted
        # The later codebooks of a frame code what its first wrong one left over.
        first = differs.argmax(axis=0)
        for frame in np.flatnonzero(differs.any(axis=0)):
            is_tie = gap[first[frame], frame] < _TIE
            found["ties" if is_tie else "wrong"] += int(differs[:, frame].sum())
        found["cases"] += 1
        found["codes"] += codes.size
    together = codec.encode([*waves[::-1], *waves])
    for a, b in zip(together, [*alone[::-1], *alone], strict=True):
        found["differ_in_company"] += int(not np.array_equal(a, b))
    return found


def noise(device: torch.device) -> dict[str, int]:
    """Values of SecoustiCodec's noise that the device makes unlike numpy's generator."""
    states = torch.from_numpy(noise_states("clip", 100, 1100)).to(device)
    found = draw_noise(states, noise_jumps().to(device)).cpu().numpy()
    seed = int.from_bytes(hashlib.sha256(b"clip|gauss").digest()[:16], "little")
    generator = np.random.PCG64(np.random.SeedSequence(seed))
    words = generator.advance(100 * 2304).random_raw(found.size)
    sums = words.view("<u2").reshape(-1, 4).sum(axis=1, dtype=np.int64)
    wanted = ((sums - 131070) / 37837.22).astype(np.float32).reshape(found.shape)
    return {"values": found.size, "unlike": int((found != wanted).sum())}


def released_speed(
    models: Models, name: str, program: str, opened: dict[str, CausalStream]
) -> dict[str, Any]:
    """Encoding and decoding at Emilia's lengths, in the released size; each is opened once."""
    if name not in opened:
        is_moss = name == "moss"
        opened[name] = _open_random_moss(models) if is_moss else _open_random_secousti(models, name)
    codec = running(opened[name], program)
    lengths = emilia_lengths(64)
    return speed(models, codec, speech_like_clips(lengths, codec.shape.input_rate_hz))


def speed(models: Models, codec: Codec, clips: Sequence[Wave]) -> dict[str, Any]:
    """Encoding of clips, and decoding of the first eight, with noise, all in one call."""
    rate, few = codec.shape.input_rate_hz, 8
    encode = partial(codec.encode_with_side, clips)
    encoded = encode()[:few]
    decode = partial(codec.decode_encoded, encoded, keys=[str(i) for i in range(len(encoded))])
    return {
        "encode": _measured(encode, clips, rate, models),
        "decode": _measured(decode, clips[:few], rate, models),
    }


def _measured(
    action: Callable[[], object], clips: Sequence[Wave], rate: int, models: Models
) -> dict[str, Any]:
    found = timed(action, clips, models, repeats=3, rate_hz=rate)
    traced = trace(action, models.device)
    return {**found, "launches": traced.launches, "copies": traced.copies, "waits": traced.waits}


def _open_random_moss(models: Models) -> CausalStream:
    config = released_moss()
    with torch.device("meta"):
        model = MossAudioTokenizer(config)
    return moss.assemble(config, _random(model, models.device), str(models.device))


def _open_random_secousti(models: Models, name: str) -> CausalStream:
    with torch.device("meta"):
        model = SecoustiModel(released_secousti(_SECOUSTI_STRIDES[name]))
    return secousti.assemble(_random(model, models.device), str(models.device))


def _random(model: torch.nn.Module, device: torch.device) -> Checkpoint:
    """Weights made on the device, small enough for values to stay finite through all layers."""
    generator = torch.Generator(device).manual_seed(0)
    state = {}
    for key, like in model.state_dict().items():
        shape = like.shape
        if not like.is_floating_point():
            state[key] = torch.zeros(shape, dtype=like.dtype)
        else:
            made = torch.randn(shape, generator=generator, device=device)
            state[key] = (made * 0.02 if like.ndim > 1 else made.abs()).to("cpu", like.dtype)
    return Checkpoint(Path("random"), state, {}, "0" * 64)
