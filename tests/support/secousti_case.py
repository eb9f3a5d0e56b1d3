"""Expected outputs of SecoustiCodec's reference, and how far a model is from them."""

import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tests.golden.secousti.weights import blob_sha256, make_weights, normal
from tests.support.golden_case import SHARED, inputs
from tests.support.places import GOLDEN
from xy_codec.audio import resample
from xy_codec.secousti.codec import SecoustiCodec
from xy_codec.secousti.config import HOP_SAMPLES, SAMPLE_RATE_HZ
from xy_codec.secousti.loading import assemble
from xy_codec.secousti.model import SecoustiModel
from xy_codec.secousti.noise import noise_states, start_phases
from xy_codec.secousti.state_dict import build_model, codec_state, config_of, vocoder_state
from xy_codec.weights.checkpoint import Checkpoint

BUNDLED = GOLDEN / "secousti"
# A token that differs where a digit is nearer than this to its threshold is rounding.
TIE = 1e-4
# The largest difference from the reference that each quantity may have.
LIMITS = {
    "state": 1e-4,
    "vector": 1e-4,
    "mel": 1e-5,  # as magnitudes, of the loudest one: beside it the Fourier transform rounds
    "stage": 1e-4,  # of the largest value of the stage
    "decoded mel": 1e-3,
    "pitch": 1e-2,  # Hz
    "wave of the recorded pitch": 1e-4,
    "wave": 5e-2,  # the phase adds up differences of the pitch
    "loudness of a block": 5e-3,
}
_ENCODER_STAGES = ("seanet", "semantic", "mu", "acoustic", "para_conv", "para_se")
_DECODER_STAGES = ("quant", "connector", "dec_transformer")
_VOCODER_STAGES = ("voc_pre", "source", "voc_up1_in", "voc_post_in", "voc_logits")


@dataclass(frozen=True)
class Group:
    """One model with all cases that were recorded for it, in the project or beside it."""

    name: str
    folder: Path = BUNDLED

    @property
    def path(self) -> Path:
        return self.folder / self.name

    @cached_property
    def info(self) -> dict[str, Any]:
        return dict(json.loads((self.path / "info.json").read_text()))

    def cases(self, kind: str) -> list[str]:
        """Names of the recorded `cases`, `decode_cases` or `vocoder_cases` that are present."""
        return [name for name in self.info[kind] if (self.path / f"{name}.npz").exists()]

    def states(self) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
        """The synthetic weights under the names of both released files."""
        shapes = json.loads((self.path / "shapes.json").read_text())
        bias = {"fsq.project_in.bias": self.info["config"]["project_in_bias"]}
        codec, vocoder = make_weights(shapes["codec"], bias), make_weights(shapes["hift"])
        assert blob_sha256(codec) == self.info["codec_weights_sha256"]
        assert blob_sha256(vocoder) == self.info["hift_weights_sha256"]
        return _tensors(codec), _tensors(vocoder)

    def checkpoint(self) -> Checkpoint:
        """The weights as if read from the files."""
        codec, vocoder = self.states()
        return Checkpoint(self.path, codec_state(codec) | vocoder_state(vocoder), {}, "0" * 64)

    def recorded(self, case: str) -> dict[str, np.ndarray]:
        """The arrays of one case."""
        with np.load(self.path / f"{case}.npz") as data:
            return dict(data)

    def write_release(self, folder: Path) -> Path:
        """Both files as the release lays them out, under the names of the group's release."""
        codec, vocoder = self.states()
        name = "21_5" if self.name.endswith("21") else "86"
        torch.save({"model": codec}, folder / f"secousticodec_{name}_hz.pt")
        torch.save(vocoder, folder / "hift.pt")
        return folder


@dataclass
class Differences:
    """Tokens that differ from the reference's, and the largest difference of each quantity."""

    tokens: int = 0
    wrong: int = 0
    ties: list[str] = field(default_factory=list)
    largest: dict[str, float] = field(default_factory=lambda: defaultdict(float))

    def note(self, quantity: str, difference: float) -> None:
        self.largest[quantity] = max(self.largest[quantity], difference)

    def too_large(self) -> dict[str, float]:
        """The quantities beyond their limits."""
        return {name: value for name, value in self.largest.items() if value > LIMITS[name]}

    def add_tokens(self, case: str, expected: dict[str, np.ndarray], codes: np.ndarray) -> None:
        """Count the tokens `[1, T]` that differ, at a tie and elsewhere."""
        assert codes.shape == (1, len(expected["tokens"]))
        self.tokens += codes.shape[1]
        for place in np.flatnonzero(codes[0] != expected["tokens"]):
            if expected["gap"][place] < TIE:
                self.ties.append(f"{case} token {place}")
            else:
                self.wrong += 1


@lru_cache(maxsize=2)
def model_of(group: Group) -> SecoustiModel:
    """The plain model of a group; kept, because many tests want it."""
    checkpoint = group.checkpoint()
    return build_model(config_of(checkpoint), checkpoint)


@lru_cache(maxsize=4)
def codec_of(group: Group, program: str = "tiles") -> SecoustiCodec:
    """The codec of a group on the CPU; kept, because many tests want it."""
    return assemble(group.checkpoint(), "cpu", {"program": program})


def complete(name: str) -> Group:
    """A group with all cases where they are there, with the bundled ones otherwise."""
    folder = SHARED.parent / "golden_secousti"
    return Group(name, folder if (folder / name / "info.json").exists() else BUNDLED)


def wave_of(case: dict[str, Any]) -> np.ndarray:
    """The waveform of an encode case at the codec's rate."""
    (samples,) = inputs({"inputs": [[case["input"], case["samples"]]]})
    return resample(samples * np.float32(case["gain"]), case["rate"], SAMPLE_RATE_HZ)


@torch.inference_mode()
def compare_encoding(group: Group, case: str, found: Differences) -> None:
    """Hold the codec's tokens and state, and each stage of the plain model, to the reference."""
    expected, wave = group.recorded(case), wave_of(group.info["cases"][case])
    ((codes, side),) = codec_of(group).encode_with_side([wave])
    found.add_tokens(f"{group.name} {case}", expected, codes)
    assert side is not None
    found.note("state", _distance(side, expected["gru"]))
    model = model_of(group)
    stages = _encoder_stages(model, torch.from_numpy(wave)[None])
    projection = _distance(stages["proj"], expected["proj"])
    found.note("stage", projection / float(np.abs(expected["proj"]).max()))
    found.note("vector", _distance(stages["vector"][:, 0], expected["vector"]))
    recorded = [name for name in expected if name in ("full/mel", "probe/mel")]
    loud = {name: np.exp(expected[name]) for name in recorded}
    found.note("mel", _array_distance("mel", np.exp(stages["mel"]), loud, relative=True))
    for name in _ENCODER_STAGES:
        found.note("stage", _array_distance(name, stages[name], expected, relative=True))
    mel = model.reconstruct(torch.from_numpy(stages["acoustic"]).T[None])
    found.note("decoded mel", _array_distance("mel_acoustic", mel[0].numpy(), expected))


@torch.inference_mode()
def compare_decoding(group: Group, case: str, found: Differences) -> None:
    """Hold the codec's waveform, and each stage of the plain model, to the reference."""
    expected, model = group.recorded(case), model_of(group)
    codes = expected["tokens"].astype(np.int16)[None]
    (wave,) = codec_of(group).decode([codes], side=[expected["gru"]])
    compare_wave(wave, expected, "wav", found, "wave")
    stages = _decoder_stages(model, torch.from_numpy(codes).long(), expected["vector"])
    for name in _DECODER_STAGES:
        found.note("stage", _array_distance(name, stages[name], expected, relative=True))
    found.note("decoded mel", _array_distance("mel_token", stages["mel_token"], expected))
    compare_vocoding(group, case, stages["mel_token"], found)


@torch.inference_mode()
def compare_vocoding(group: Group, case: str, mel: np.ndarray, found: Differences) -> None:
    """Hold the plain vocoder, with and without noise, to the reference."""
    expected, vocoder = group.recorded(case), model_of(group).vocoder
    frames = torch.from_numpy(mel)[None]
    found.note("pitch", _distance(vocoder.pitch(frames)[0].numpy(), expected["f0/wav"]))
    pitch = torch.from_numpy(expected["f0/wav"])[None]
    key, num_frames = f"{group.name}/{case}", int(expected["len/wav"]) // HOP_SAMPLES
    noise = vocoder.source.noise(torch.from_numpy(noise_states(key, 0, num_frames)))
    phases = torch.from_numpy(start_phases(key))
    for name, source in (
        ("wav", vocoder.source(pitch)),
        ("wav_noise", vocoder.source(pitch, phases, noise)),
    ):
        spectrum = vocoder.spectrum(source)
        wave = vocoder.filter(frames, spectrum)[0].numpy()
        compare_wave(wave, expected, name, found, "wave of the recorded pitch")
        if name == "wav":
            stages = {"source": source[0].numpy()} | _vocoder_stages(
                model_of(group), frames, spectrum
            )
            for stage in _VOCODER_STAGES:
                found.note("stage", _array_distance(stage, stages[stage], expected, relative=True))


def vocoder_mel(group: Group, case: str) -> np.ndarray:
    """The log-mel of a case that is for the vocoder alone."""
    info = group.info["vocoder_cases"][case]
    values = normal(f"{case}.mel", 80 * info["frames"])
    return (info["scale"] * values + info["offset"]).astype(np.float32).reshape(80, -1)


def compare_wave(
    wave: np.ndarray, expected: dict[str, np.ndarray], name: str, found: Differences, quantity: str
) -> None:
    """Note how far a waveform is from the recorded samples."""
    assert len(wave) == expected[f"len/{name}"]
    for (start, stop), samples in _recorded_samples(expected, name):
        found.note(quantity, _distance(wave[start:stop], samples))
    if f"rms/{name}" in expected:
        blocks = np.split(wave.astype(np.float64), range(1024, len(wave), 1024))
        loudness = np.array([np.sqrt(np.mean(block**2)) for block in blocks])
        found.note("loudness of a block", _distance(loudness, expected[f"rms/{name}"]))


def _recorded_samples(
    expected: dict[str, np.ndarray], name: str
) -> Iterator[tuple[tuple[int, int], np.ndarray]]:
    if f"full/{name}" in expected:
        yield (0, int(expected[f"len/{name}"])), expected[f"full/{name}"]
        return
    at = 0
    for start, stop in expected[f"win/{name}"]:
        yield (start, stop), expected[f"val/{name}"][at : at + stop - start]
        at += stop - start


def _encoder_stages(model: SecoustiModel, waves: torch.Tensor) -> dict[str, np.ndarray]:
    """Every stage as `[channels, frames]`."""
    branch = model.paralinguistic_encoder
    mel = model.mel(waves)
    seanet = model.encoder(mel)
    semantic = model.semantic_transformer(seanet.transpose(1, 2))
    mean = model.semantic_mean(semantic)
    convolved = branch.convolve(branch.middle_of(mel))
    stages = {
        "mel": mel[0],
        "seanet": seanet[0],
        "semantic": semantic[0].T,
        "mu": mean[0].T,
        "proj": model.quantizer.project_in(mean)[0].T,
        "acoustic": model.embed_acoustic(mel)[0].T,
        "para_conv": convolved[0],
        "para_se": branch.squeeze_excite(convolved)[0],
        "vector": branch.to_vector(branch(mel)).T,
    }
    return {name: stage.numpy() for name, stage in stages.items()}


def _decoder_stages(
    model: SecoustiModel, tokens: torch.Tensor, vector: np.ndarray
) -> dict[str, np.ndarray]:
    quantized = model.quantizer.decode(tokens)
    connected = model.connector(quantized + torch.from_numpy(vector))
    stages = {
        "quant": quantized[0].T,
        "connector": connected[0].T,
        "dec_transformer": model.decoder_transformer(connected)[0].T,
        "mel_token": model.decode_mel(tokens, torch.from_numpy(vector)[None])[0],
    }
    return {name: stage.numpy() for name, stage in stages.items()}


def _vocoder_stages(
    model: SecoustiModel, mel: torch.Tensor, spectrum: torch.Tensor
) -> dict[str, np.ndarray]:
    """What goes into some of the vocoder's convolutions, and what comes out of others."""
    vocoder = model.vocoder
    stages: dict[str, np.ndarray] = {}
    hooks = [
        vocoder.conv_in.register_forward_hook(
            lambda _module, _args, out: stages.update(voc_pre=out[0].numpy())
        ),
        vocoder.ups[1].register_forward_pre_hook(
            lambda _module, args: stages.update(voc_up1_in=args[0][0].numpy())
        ),
        vocoder.conv_out.register_forward_pre_hook(
            lambda _module, args: stages.update(voc_post_in=args[0][0].numpy())
        ),
    ]
    stages["voc_logits"] = vocoder.logits(mel, spectrum)[0].numpy()
    for hook in hooks:
        hook.remove()
    return stages


def _array_distance(
    name: str, got: np.ndarray, expected: dict[str, np.ndarray], relative: bool = False
) -> float:
    """Distance from a recorded array, or from the values of it that were recorded."""
    if f"full/{name}" in expected:
        wanted = expected[f"full/{name}"]
        assert got.shape == wanted.shape, name
        distance = _distance(got, wanted)
    elif f"probe/{name}" in expected:
        places = np.arange(64, dtype=np.int64) * 2654435761 % got.size
        wanted = expected[f"probe/{name}"]
        distance = _distance(got.reshape(-1)[places], wanted)
    else:
        return 0.0
    return distance / float(np.abs(wanted).max()) if relative else distance


def _distance(got: np.ndarray, wanted: np.ndarray) -> float:
    assert got.shape == wanted.shape
    return float(np.abs(got.astype(np.float64) - wanted).max())


def _tensors(arrays: dict[str, np.ndarray]) -> dict[str, torch.Tensor]:
    return {key: torch.from_numpy(array) for key, array in arrays.items()}
