import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.audit.codes.reencode import agreement, compare_codes


def make_codes(frames: int = 100, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 1024, (8, frames), dtype=np.int16)


def test_equal_codes_have_no_drift():
    codes = make_codes()
    drift = compare_codes(codes, codes.copy())
    assert drift.equal
    assert (drift.agreement_at_shift, drift.best_shift_frames) == (1.0, 0)
    assert drift.constant_codebooks == ()


def test_differing_codes_are_counted_by_codebook_and_frame():
    stored, fresh = make_codes(), make_codes()
    fresh[2, 5] ^= 1
    fresh[2, 9] ^= 3
    fresh[7, 9] ^= 512
    drift = compare_codes(stored, fresh)
    assert drift.differing_codes == (0, 0, 2, 0, 0, 0, 0, 1)
    assert drift.differing_frames == 2
    assert drift.one_bit_flips == 2


@given(shift=st.integers(-12, 12), frames=st.integers(40, 120))
@settings(max_examples=40, deadline=None)
def test_any_shift_is_found(shift, frames):
    long = make_codes(frames + 24)
    stored, fresh = long[:, 12 - shift :][:, :frames], long[:, 12:][:, :frames]
    drift = compare_codes(stored, fresh)
    assert drift.best_shift_frames == shift
    assert drift.agreement_at_shift == 1.0


def test_unrelated_codes_have_no_shift():
    drift = compare_codes(make_codes(seed=1), make_codes(seed=2))
    assert drift.best_shift_frames == 0
    assert drift.agreement_at_shift < 0.02


def test_codes_of_another_length_are_never_equal():
    codes = make_codes()
    drift = compare_codes(codes[:, :90], codes)
    assert not drift.equal
    assert sum(drift.differing_codes) == 0
    assert drift.compared_frames == 90


def test_stuck_codebooks_are_named_only_where_fresh_ones_move():
    stored, fresh = make_codes(), make_codes()
    stored[4:] = 0
    fresh[6] = 9
    assert compare_codes(stored, fresh).constant_codebooks == (4, 5, 7)


@pytest.mark.parametrize("frames", [0, 1, 3])
def test_the_shortest_codes_compare(frames):
    drift = compare_codes(make_codes(frames), make_codes(frames, seed=1))
    assert drift.stored_frames == frames
    assert drift.best_shift_frames == 0


def test_agreement_of_nothing_is_none():
    assert agreement(make_codes(0), make_codes()) == 0.0
    assert agreement(make_codes(5), make_codes(5), shift=7) == 0.0
