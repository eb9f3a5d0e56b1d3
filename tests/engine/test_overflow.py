"""Half precision is watched: clips that it cannot hold run again in float32, and are counted."""

import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from tests.support.narrow_xy import narrow_params, narrow_state
from xy_codec.engine.geometry import Geometry
from xy_codec.errors import CodesError
from xy_codec.weights.checkpoint import Checkpoint
from xy_codec.xy.config import CodecConfig
from xy_codec.xy.loading import assemble
from xy_codec.xy.packed_codec import PackedCodec
from xy_codec.xy.state_dict import build_model, read_released

# What this makes of the mean of a loud clip's log-mel, which is above 1, is beyond the 65,504 of
# float16; of a quiet one's it is not.
TOO_LARGE = 80_000.0
RNG = np.random.default_rng(3)
LOUD, QUIET = (
    (RNG.standard_normal(20_000) * gain).astype(np.float32) for gain in (0.9, 0.001)
)  # fmt: skip


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    state = narrow_state()
    state["acoustic_encoder.conv1.weight"][0] = 0.0
    state["acoustic_encoder.conv1.weight"][0, :, 1] = TOO_LARGE / 80
    path = tmp_path_factory.mktemp("narrow") / "weights.safetensors"
    save_file(state, path)
    return path


def codec_of(checkpoint: Path, program: str, *, has_exact: bool = True) -> PackedCodec:
    """In float16, which `load_codec` refuses where a CPU is slow at it."""
    config = CodecConfig.from_mapping(narrow_params())

    def exact() -> PackedCodec:
        made = assemble(config, read_released(checkpoint), device="cpu")
        made.geometry = geometry
        return made

    geometry = Geometry(256, 256, program=program)  # type: ignore[arg-type]
    identity = assemble(config, read_released(checkpoint), device="cpu")
    model = build_model(config, Checkpoint(checkpoint, read_released(checkpoint).state, {}, ""))
    return PackedCodec(
        model, torch.float16, identity.identity, identity.plan, torch.device("cpu"), geometry,
        exact=exact if has_exact else None,
    )  # fmt: skip


@pytest.mark.parametrize("program", ["tiles", "pack"])
def test_clips_that_overflow_get_the_codes_of_exact_and_others_keep_theirs(
    checkpoint: Path, program: str, caplog: pytest.LogCaptureFixture
) -> None:
    codec = codec_of(checkpoint, program)
    exact = codec._exact
    quiet = codec.encode([QUIET])[0]
    assert codec.counters.reruns_in_exact == 0
    with caplog.at_level(logging.WARNING):
        first, second, third = codec.encode([LOUD, QUIET, LOUD])
    assert codec.counters.reruns_in_exact == 2
    assert caplog.text.count("too large for half precision") == 1
    expected = exact.encode([LOUD])[0]
    assert np.array_equal(first, expected)
    assert np.array_equal(third, expected)
    assert np.array_equal(second, quiet)
    assert min(matrix.min() for matrix in (first, second)) >= 0


def test_overflow_without_float32_weights_is_an_error(checkpoint: Path) -> None:
    with pytest.raises(CodesError, match="half precision cannot hold"):
        codec_of(checkpoint, "pack", has_exact=False).encode([LOUD])
