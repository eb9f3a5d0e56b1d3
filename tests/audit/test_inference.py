"""Intervals, tests and corrections of the audit keep what their names promise."""

from math import inf

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pipeline.audit.judge.inference import (
    Prediction,
    Sample,
    Spread,
    clustered_interval,
    holm,
    mean_interval,
    paired_test,
    predict,
    share_interval,
    unseen_share,
)

# A busy machine draws examples slowly; that says nothing about the rule.
PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=50)
P_VALUES = arrays(np.float64, st.integers(1, 40), elements=st.floats(0, 1))


def spread_of(means: np.ndarray, within: float = 0.0, clips: int = 20) -> Spread:
    return Spread(len(means), float(means.mean()), float(means.var(ddof=1)), within, within / clips)


def prediction(mean: float, spread: Spread, variance: float = 0.0, clips: int = 20) -> Prediction:
    return predict([(Sample(mean, variance, clips), spread)])


def test_mean_interval_covers_the_mean_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(1)
    intervals = [mean_interval(rng.normal(3.0, 1.0, 8)) for _ in range(2000)]
    covered = np.mean([not interval.excludes(3.0) for interval in intervals])
    assert 0.935 <= covered <= 0.965


def test_an_interval_of_clustered_clips_covers_what_one_of_clips_misses() -> None:
    rng = np.random.default_rng(2)
    by_cluster, by_clip = [], []
    for _ in range(500):
        clips = rng.normal(size=(12, 1)) * np.sqrt(0.4) + rng.normal(size=(12, 20)) * np.sqrt(0.6)
        by_cluster.append(not clustered_interval(clips.mean(axis=1), clips.size).excludes(0.0))
        by_clip.append(not mean_interval(clips.ravel()).excludes(0.0))
    assert 0.92 <= np.mean(by_cluster) <= 0.975
    assert np.mean(by_clip) < 0.6


@pytest.mark.parametrize("interval", [mean_interval(np.ones(1)), clustered_interval(np.ones(2), 9)])
def test_too_few_values_leave_the_bounds_unknown(interval) -> None:
    assert (interval.low, interval.high, interval.is_known) == (-inf, inf, False)


def test_share_interval_of_no_hits_still_allows_some() -> None:
    # Wilson, by hand: 0 of 50 leaves z²/(n + z²).
    assert share_interval(0, 50).high == pytest.approx(1.96**2 / (50 + 1.96**2), abs=1e-4)


@pytest.mark.parametrize(("seen", "left"), [(20, 0.139), (60, 0.049), (1, 0.95), (0, 1.0)])
def test_no_bad_clip_of_so_many_leaves_so_many_unseen(seen: int, left: float) -> None:
    assert unseen_share(seen) == pytest.approx(left, abs=5e-4)


@pytest.mark.parametrize("shards", [3, 5, 10, 40])
def test_a_further_good_shard_is_rejected_as_often_as_the_level_says(shards: int) -> None:
    rng = np.random.default_rng(shards)
    means = rng.normal(size=(20_000, shards + 1))
    found = [prediction(row[0], spread_of(row[1:])).p_higher <= 0.01 for row in means]
    assert 0.007 <= np.mean(found) <= 0.013


def test_few_or_scattered_values_of_the_shard_itself_count_against_a_finding() -> None:
    spread = spread_of(np.random.default_rng(3).normal(size=12) * 0.1, within=0.04)
    usual = prediction(0.7, spread, variance=0.04)
    few = prediction(0.7, spread, variance=0.04, clips=2)
    wild = prediction(0.7, spread, variance=9.0)
    assert usual.p_higher < 1e-3 < few.p_higher
    assert wild.p_higher > 0.05
    assert usual.half_width(0.01) < few.half_width(0.01) < wild.half_width(0.01)


def test_paired_test_of_equal_sides_finds_nothing() -> None:
    assert paired_test(np.zeros(20)) == 1.0
    draws = np.random.default_rng(7).normal(size=(2000, 15))
    assert 0.03 <= np.mean([paired_test(draw) <= 0.05 for draw in draws]) <= 0.07


def test_paired_test_finds_a_small_but_constant_loss() -> None:
    assert paired_test(np.random.default_rng(6).normal(-0.02, 0.02, 30)) < 0.01
    assert paired_test(np.full(5, -0.02)) == 0.0
    assert paired_test(np.array([-0.02])) == 1.0


@PATIENT
@given(P_VALUES)
def test_a_correction_never_makes_a_p_value_smaller(p_values: np.ndarray) -> None:
    adjusted = holm(p_values)
    assert (adjusted >= p_values - 1e-12).all()
    assert (adjusted <= 1).all()


def test_the_correction_of_a_known_example() -> None:
    assert holm(np.array([0.04, 0.01, 0.03])) == pytest.approx([0.06, 0.03, 0.06])
