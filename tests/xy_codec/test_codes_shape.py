"""The shape of codes: what every reader takes from the run instead of from a constant."""

from dataclasses import replace

import numpy as np
import pytest

from xy_codec.codes_shape import CodesShape
from xy_codec.fake import FAKES

XY, ODD = FAKES["fake"], FAKES["fake-odd"]


@pytest.mark.parametrize(
    ("shape", "frames"),
    [
        (XY, {0: 0, 1279: 0, 1280: 1, 1281: 1, 2559: 1, 2560: 2}),
        (ODD, {0: 0, 1: 0, 384: 0, 385: 1, 1024: 1, 1025: 2, 2048: 2}),
        (replace(ODD, padding_samples=1024), {385: 1, 1023: 1, 1024: 2}),
    ],
)
def test_frames_of_a_length(shape: CodesShape, frames: dict[int, int]) -> None:
    assert {length: shape.num_frames(length) for length in frames} == frames
    many = shape.num_frames(np.array(list(frames)))
    assert many.tolist() == list(frames.values())


@pytest.mark.parametrize(("largest", "kind"), [(1024, "int16"), (32768, "int16"), (32769, "int32")])
def test_the_type_is_as_narrow_as_the_entries_allow(largest: int, kind: str) -> None:
    assert replace(XY, codebook_sizes=(7, largest)).dtype == kind


def test_rates_and_bits() -> None:
    assert (XY.frame_rate_hz, XY.bits_per_second) == (12.5, 1000.0)
    assert ODD.frame_rate_hz == pytest.approx(21.533, abs=1e-3)
    assert ODD.bits_per_second == pytest.approx(21.533 * (2.807 + 8.229 + 16), rel=1e-3)
    assert (XY.frames_in(2.0), ODD.frames_in(2.0), ODD.frames_in(0.001)) == (25, 43, 1)


def test_words() -> None:
    assert XY.codebooks_in_words() == "8 codebooks of 1,024"
    assert ODD.codebooks_in_words() == "3 codebooks of 7, 300, 65,536"
    assert replace(ODD, codebook_sizes=(6561,)).codebooks_in_words() == "1 codebook of 6,561"
