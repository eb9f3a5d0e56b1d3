"""The noise of a key: numpy's generator, at any place and on any device."""

import hashlib

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from xy_codec.secousti.noise import (
    draw_noise,
    noise_jumps,
    noise_states,
    normal_values,
    start_phases,
)

JUMPS = noise_jumps()
PLACES = st.one_of(st.integers(0, 300), st.integers(0, 1 << 40))


def words_of(name: str, start: int, count: int) -> np.ndarray:
    """Words of numpy's own generator."""
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:16], "little")
    return np.random.PCG64(np.random.SeedSequence(seed)).advance(start).random_raw(count)


def noise_of(key: str, start: int, stop: int) -> np.ndarray:
    return draw_noise(torch.from_numpy(noise_states(key, start, stop)), JUMPS).numpy()


@given(key=st.text(max_size=30), start=PLACES, num_frames=st.integers(1, 4))
def test_noise_is_the_sum_of_each_word_of_numpy_s_generator(
    key: str, start: int, num_frames: int
) -> None:
    words = words_of(f"{key}|gauss", start * 2304, num_frames * 2304)
    sums = words.view("<u2").reshape(-1, 4).sum(axis=1, dtype=np.int64)
    expected = ((sums - 131070) / 37837.22).astype(np.float32).reshape(-1, 9)
    assert np.array_equal(noise_of(key, start, start + num_frames), expected)


def test_every_sum_gives_the_value_that_division_gives() -> None:
    sums = np.arange(4 * 65535 + 1)
    expected = ((sums - 131070) / 37837.22).astype(np.float32)
    assert np.array_equal(normal_values(torch.from_numpy(sums)).numpy(), expected)


def test_noise_does_not_depend_on_the_range_and_is_about_normal() -> None:
    whole = noise_of("speech/0001", 0, 12)
    assert np.array_equal(noise_of("speech/0001", 5, 7), whole[5 * 256 : 7 * 256])
    assert abs(float(whole.mean())) < 0.02
    assert float(whole.std()) == pytest.approx(1.0, abs=0.01)
    assert not np.array_equal(whole[:256], noise_of("speech/0002", 0, 1))


def test_frames_without_states_have_no_noise() -> None:
    states = torch.zeros(3, 4, dtype=torch.int64)
    states[1] = torch.from_numpy(noise_states("k", 8, 9))[0]
    made = draw_noise(states, JUMPS).numpy()
    assert np.array_equal(made[256:512], noise_of("k", 8, 9))
    assert not made[:256].any()
    assert not made[512:].any()


def test_harmonics_start_where_the_words_say() -> None:
    phases, words = start_phases("speech/0001"), words_of("speech/0001|phase", 0, 9)
    assert phases[0] == 0.0
    np.testing.assert_allclose(phases[1:], (words[1:] / 2.0**63 - 1.0) * np.pi, rtol=1e-6)
