"""What goes into `encode` and `decode`, what comes out, and what is refused."""

import resource
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.golden_case import small_codec
from tests.support.narrow_xy import narrow_params, narrow_state
from xy_codec.contract import Codec
from xy_codec.engine.windows import WindowPlan
from xy_codec.errors import AudioError, CodesError, ConfigError
from xy_codec.weights.checkpoint import Checkpoint
from xy_codec.xy.config import CodecConfig
from xy_codec.xy.loading import assemble
from xy_codec.xy.packed_codec import PackedCodec

RNG = np.random.default_rng(11)


@pytest.fixture(scope="module")
def codec() -> PackedCodec:
    return small_codec("small_xy", 10.0)


def noise(length: int) -> np.ndarray:
    return (RNG.standard_normal(length) * 0.1).astype(np.float32)


def test_the_codec_fulfils_the_contract(codec: PackedCodec) -> None:
    assert isinstance(codec, Codec)
    assert codec.shape.frame_rate_hz == 12.5
    assert codec.identity.platform.startswith("cpu:")
    assert codec.identity.to_dict()["pack_geometry"].startswith("rows")


def test_clips_without_a_whole_frame_give_no_codes(codec: PackedCodec) -> None:
    empty, short = codec.encode([noise(0), noise(1279)])
    assert empty.shape == short.shape == (8, 0)
    assert empty.dtype == np.int16
    assert codec.encode([]) == []
    assert codec.decode([empty])[0].shape == (0,)
    assert codec.decode([]) == []


@pytest.mark.parametrize(
    ("wave", "message"),
    [
        (noise(2000).astype(np.float64), "float64; expected a numpy array of float32"),
        (np.zeros(2000, np.int16), "int16; expected"),
        ([0.0, 0.1], "is list; expected"),
        (noise(2000).reshape(2, 1000), r"shape \[2, 1000\]; expected one axis"),
        (np.full(2000, np.nan, np.float32), "2000 of 2000 samples that are NaN"),
        (np.array([0.0, np.inf] * 1000, np.float32), "1000 of 2000 samples"),
    ],
)
def test_wrong_waveforms_are_refused(codec: PackedCodec, wave: Any, message: str) -> None:
    with pytest.raises(AudioError, match=message):
        codec.encode([noise(10), wave])


def test_a_wrong_sample_rate_is_refused(codec: PackedCodec) -> None:
    with pytest.raises(AudioError, match="at 24000 Hz; expected 16000 Hz"):
        codec.encode([noise(2000)], rate_hz=24000)
    assert codec.encode([noise(2560)], rate_hz=16000)[0].shape == (8, 2)


@pytest.mark.parametrize(
    ("codes", "message"),
    [
        (np.full((8, 3), 1024, np.int16), "contains 1024; expected 0 to 1023"),
        (np.full((8, 3), -1, np.int16), "contains -1; expected"),
        (np.zeros((9, 3), np.int16), r"shape \[9, 3\]; expected"),
        (np.zeros((0, 3), np.int16), r"shape \[0, 3\]; expected"),
        (np.zeros(8, np.int16), r"shape \[8\]; expected"),
        (np.zeros((8, 3), np.float32), "float32; expected a numpy array of integers"),
    ],
)
def test_wrong_codes_are_refused(codec: PackedCodec, codes: np.ndarray, message: str) -> None:
    with pytest.raises(CodesError, match=message):
        codec.decode([codes])


def test_the_first_codebooks_can_be_coded_alone(codec: PackedCodec) -> None:
    wave = noise(20_000)
    whole = codec.encode([wave])[0]
    for count in (1, 3):
        few = small_codec("small_xy", 10.0, depth=count)
        assert np.array_equal(few.encode([wave])[0], whole[:count])
        assert few.shape.num_codebooks == few.identity.options["depth"] == count
        assert codec.decode([whole[:count]])[0].shape == (15 * 1280,)
    with pytest.raises(ConfigError, match="`depth` is 9; expected 1 to 8"):
        small_codec("small_xy", 10.0, depth=9)


def test_matrices_of_different_depth_can_be_decoded_together(codec: PackedCodec) -> None:
    whole = codec.encode([noise(20_000)])[0]
    both = codec.decode([whole, whole[:2], whole])
    assert np.array_equal(both[0], both[2])
    assert np.array_equal(both[1], codec.decode([whole[:2]])[0])


def test_int64_codes_decode_like_int16(codec: PackedCodec) -> None:
    codes = codec.encode([noise(5000)])[0]
    assert np.array_equal(codec.decode([codes.astype(np.int64)])[0], codec.decode([codes])[0])


@given(st.integers(0, 3_000_000), st.integers(0, 374))
def test_windows_cover_every_frame_once(num_samples: int, overlap_frames: int) -> None:
    plan = WindowPlan.of(16000, 30, 1280, overlap_frames * 0.08)
    at = 0
    for window in plan.encode_windows(num_samples):
        assert window.first_frame == at
        assert window.start == at * 1280
        assert window.num_kept <= (window.stop - window.start) // 1280
        assert window.stop - window.start <= 480_000
        at += window.num_kept
    assert at == num_samples // 1280
    kept = [window.num_kept for window in plan.decode_windows(at)]
    assert sum(kept) == at


def narrow_codec() -> PackedCodec:
    """A codec that is quick enough for hours of audio."""
    config = CodecConfig.from_mapping(narrow_params())
    checkpoint = Checkpoint(Path("narrow"), narrow_state(), {}, "0" * 64)
    return assemble(config, checkpoint, device="cpu")


def peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


@pytest.mark.slow
def test_memory_does_not_grow_with_the_length_of_a_clip() -> None:
    codec = narrow_codec()
    minute = noise(16000 * 60)
    codec.encode([np.tile(minute, 10)])
    hour = np.tile(minute, 60)
    before = peak_bytes()
    codes = codec.encode([hour])[0]
    assert codes.shape == (8, 45_000)
    assert peak_bytes() - before < hour.nbytes / 2
