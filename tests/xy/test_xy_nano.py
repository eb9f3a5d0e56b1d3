"""The bundled checkpoint: its size, its codes, its card."""

import json

import numpy as np
import pytest

from tests.golden.make_xy_nano import EXPECTED, golden_waves, weights_sha256
from xy_codec import load_codec
from xy_codec.weights.source import BUNDLED, read_config
from xy_codec.xy.config import CodecConfig
from xy_codec.xy.model import XYTokenizer

NANO = BUNDLED / "xy-nano"


@pytest.fixture(scope="module")
def codec():
    return load_codec("xy-nano", device="cpu")


def test_it_is_small_enough_for_a_package():
    assert (NANO / "model.safetensors").stat().st_size <= 40e6
    model = XYTokenizer(CodecConfig.from_mapping(read_config(NANO / "config.yaml")))
    assert sum(each.numel() for each in model.parameters()) <= 20e6


def test_the_golden_codes_belong_to_these_weights():
    golden = json.loads(EXPECTED.read_text())
    assert golden["weights_sha256"] == weights_sha256(), "run tests/golden/make_xy_nano.py"


def test_codes_are_the_golden_ones(codec):
    golden = json.loads(EXPECTED.read_text())["codes"]
    waves = golden_waves()
    codes = codec.encode(list(waves.values()))
    for key, ours in zip(waves, codes, strict=True):
        assert np.array_equal(ours, np.asarray(golden[key])), key


def test_decoding_gives_finite_audio_of_every_frame(codec):
    codes = np.asarray(next(iter(json.loads(EXPECTED.read_text())["codes"].values())))
    wave = codec.decode([codes])[0]
    assert len(wave) == codes.shape[1] * 1280
    assert np.isfinite(wave).all()


def test_the_card_says_what_a_user_has_to_know():
    card = (NANO / "CARD.md").read_text()
    for heading in ("## Data", "## Training", "## Scores", "## Not for", "## Going on"):
        assert heading in card
