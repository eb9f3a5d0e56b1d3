"""A model that breaks a promise is refused when it is loaded, or runs with one thread."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from xy_codec.codes_shape import CodesShape
from xy_codec.contract import CodecIdentity
from xy_codec.engine.threads import threads
from xy_codec.errors import CheckpointError, CodesError
from xy_codec.hub.self_test import self_tested

SHAPE = CodesShape(16000, 16000, 100, 100, (8, 8), padding_samples=99)
IDENTITY = CodecIdentity(
    name="tried",
    checkpoint_sha256="0" * 64,
    config_sha256="0" * 64,
    shape=SHAPE,
    company="alone",
    span="whole",
    tail="zero_to_frame",
    decodes="yes",
    precision="exact",
    pack_geometry="alone",
    attention="none",
    platform="any",
    libraries={"package": "1.2"},
)


class Layer(nn.Module):
    """Gives its input back, with an error that depends on where it runs."""

    def __init__(self, error):
        super().__init__()
        self.error = error

    def forward(self, x):
        return x + self.error()


class Model:
    """Levels of the first samples of each frame."""

    def __init__(self, error=lambda: 0.0, entries=8, samples=100):
        self.layer = Layer(error)
        self.module: nn.Module = nn.Sequential(self.layer)
        self.entries = entries
        self.samples = samples

    def encode(self, waveform):
        frames = -(-len(waveform) // 100)
        padded = torch.zeros(frames * 100)
        padded[: len(waveform)] = torch.from_numpy(waveform)
        levels = self.module(padded).reshape(frames, 100)[:, :2].T
        return ((levels + 1) / 2 * self.entries).long().clamp(0, self.entries - 1)

    def decode(self, codes, _seed):
        return torch.zeros(codes.shape[1] * self.samples)

    def embed(self, codes):
        return None


def test_a_model_that_keeps_its_promises_runs_with_one_thread():
    model, seen = Model(), []
    codec = self_tested(model, IDENTITY)

    def note():
        seen.append(torch.get_num_threads())
        return 0.0

    model.layer.error = note
    with threads(2):
        codec.encode([np.ones(100, np.float32)])
        assert torch.get_num_threads() == 2
    assert seen == [1]


def test_a_model_that_differs_from_call_to_call_is_refused():
    calls = iter(range(100))
    with pytest.raises(CheckpointError, match=r"self-test with package 1.2: .*two encodings"):
        self_tested(Model(lambda: 1e-7 * next(calls)), IDENTITY)


def test_lengths_other_than_the_stated_ones_are_refused():
    shape = replace(SHAPE, padding_samples=0)
    with pytest.raises(CheckpointError, match=r"codes \[2, 2\] for 101 samples; expected \[2, 1\]"):
        self_tested(Model(), replace(IDENTITY, shape=shape))


def test_entries_other_than_the_stated_ones_are_refused():
    with pytest.raises(CheckpointError, match=r"codes are .* of 8 entries"):
        self_tested(Model(entries=16), IDENTITY)


def test_sound_of_another_length_is_refused():
    with pytest.raises(CheckpointError, match=r"frames decode to .* expected 100 for each"):
        self_tested(Model(samples=99), IDENTITY)


def test_whatever_a_package_raises_names_the_codec_and_the_version():
    def fail():
        raise ZeroDivisionError("one step")

    with pytest.raises(
        CheckpointError, match=r"`tried` failed .* package 1.2: ZeroDivisionError: one step"
    ):
        self_tested(Model(fail), IDENTITY)


def test_a_clip_is_tried_again_with_empty_memory():
    model = Model()
    codec = self_tested(model, IDENTITY)
    failures = iter([torch.cuda.OutOfMemoryError("full")])

    def fail_once():
        for failure in failures:
            raise failure
        return 0.0

    (expected,) = codec.encode([np.ones(100, np.float32)])
    model.layer.error = fail_once
    (codes,) = codec.encode([np.ones(100, np.float32)])
    assert np.array_equal(codes, expected)
    assert codec.counters.times_out_of_memory == 1


def test_a_clip_with_another_number_of_frames_than_stated_is_never_written(monkeypatch):
    model = Model()
    codec = self_tested(model, IDENTITY)
    monkeypatch.setattr(model, "encode", lambda waveform: torch.zeros(2, 3).long())
    with pytest.raises(CodesError, match=r"gave codes \[2, 3\] for 100 samples; expected \[2, 1\]"):
        codec.encode([np.ones(100, np.float32)])
