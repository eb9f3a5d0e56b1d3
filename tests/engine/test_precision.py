"""`fast` keeps nearly all codes, is as independent of company as `exact`, and can be measured."""

import io

import numpy as np
import pytest

from tests.support.flip_report import measure_flips
from tests.support.golden_case import small_codec
from tests.support.needs import needs_float16
from tests.support.places import SPEECH
from tests.support.shard_maker import read_members
from xy_codec.audio import read_audio
from xy_codec.errors import ConfigError

SHARD = SPEECH / "Emilia" / "EN" / "EN-B000000.tar"


def speech(count: int) -> list[np.ndarray]:
    """Real clips of the bundled shard."""
    clips = list(read_members(SHARD, ".mp3").values())
    return [read_audio(io.BytesIO(clip), 16000) for clip in clips[:count]]


@needs_float16
def test_fast_keeps_99_percent_of_the_first_codebook_and_95_percent_overall() -> None:
    exact, fast = small_codec("small_xy", 10.0), small_codec("small_xy", 10.0, "fast")
    report = measure_flips(exact, fast, speech(10))
    print("\n".join(report.to_lines()))
    assert fast.identity.precision == "fast"
    assert report.flip_rate[0] <= 0.01
    assert report.overall_flip_rate <= 0.05
    assert abs(report.mel_distance_other / report.mel_distance_reference - 1) < 0.02


@needs_float16
def test_fast_codes_do_not_depend_on_company() -> None:
    fast = small_codec("small_xy", 10.0, "fast")
    rng = np.random.default_rng(5)
    clips = [rng.standard_normal(n).astype(np.float32) * 0.1 for n in rng.integers(1280, 50000, 30)]
    alone = [fast.encode([wave])[0] for wave in clips]
    for _ in range(40):
        chosen = rng.integers(0, len(clips), rng.integers(2, 33))
        for i, codes in zip(chosen, fast.encode([clips[i] for i in chosen]), strict=True):
            assert np.array_equal(codes, alone[i])


def test_a_codec_does_not_flip_against_itself() -> None:
    exact = small_codec("small_xy", 10.0)
    report = measure_flips(exact, exact, speech(1))
    assert report.overall_flip_rate == 0
    assert report.mel_distance_between == 0
    assert len(report.flip_rate) == 8


def test_flips_of_different_checkpoints_are_refused() -> None:
    from xy_codec import load_codec

    with pytest.raises(ConfigError, match="cannot be compared"):
        measure_flips(small_codec("small_xy", 10.0), load_codec("xy-nano", device="cpu"), [])
