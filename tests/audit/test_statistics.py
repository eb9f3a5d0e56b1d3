"""Intervals, tests and corrections of the audit keep what their names promise."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pipeline.audit.judge.intervals import mean_interval, share_interval
from pipeline.audit.judge.significance import (
    ShardSpread,
    benjamini_hochberg,
    holm,
    paired_test,
    rank_test,
    ranks_in,
    shard_spread,
)

# A busy machine draws examples slowly; that says nothing about the rule.
PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=50)
P_VALUES = arrays(np.float64, st.integers(1, 40), elements=st.floats(0, 1))


def skewed(rng: np.random.Generator, size: int | tuple[int, int]) -> np.ndarray:
    return np.exp(rng.normal(size=size))


def test_mean_interval_covers_the_mean_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(1)
    intervals = [mean_interval(rng.normal(3.0, 1.0, 40)) for _ in range(400)]
    covered = np.mean([not interval.excludes(3.0) for interval in intervals])
    assert 0.90 <= covered <= 0.98


def test_mean_interval_is_the_same_every_time() -> None:
    values = np.random.default_rng(2).normal(size=25)
    assert mean_interval(values) == mean_interval(values)


def test_share_interval_of_no_hits_still_allows_some() -> None:
    interval = share_interval(0, 50)
    assert interval.low == pytest.approx(0.0, abs=1e-12)
    assert 0.05 < interval.high < 0.09


def test_ranks_count_ties_half() -> None:
    assert ranks_in(np.array([2.0]), np.array([1.0, 2.0, 2.0, 3.0])).tolist() == [0.5]


def test_rank_test_rejects_a_true_null_no_more_often_than_its_level() -> None:
    rng = np.random.default_rng(3)
    reference = np.sort(skewed(rng, 2000))
    p_values = [
        rank_test(ranks_in(sample, reference), len(reference)).p_lower
        for sample in skewed(rng, (3000, 12))
    ]
    assert np.mean(np.array(p_values) < 0.01) < 0.015
    assert np.mean(np.array(p_values) < 0.001) < 0.003


def test_rank_test_finds_a_shift_of_a_good_standard_deviation() -> None:
    rng = np.random.default_rng(4)
    reference = np.sort(rng.normal(size=2000))
    found = [
        rank_test(ranks_in(rng.normal(-1.2, 1.0, 20), reference), 2000).p_lower < 1e-3
        for _ in range(100)
    ]
    assert np.mean(found) > 0.9


def test_shards_of_single_speakers_do_not_alarm_once_their_spread_is_known() -> None:
    rng = np.random.default_rng(5)

    def shard() -> np.ndarray:
        return rng.normal(rng.normal(0, 0.8), 1.0, 20)

    known = [shard() for _ in range(100)]
    reference = np.sort(np.concatenate(known))
    spread = shard_spread(known, reference)
    fresh = [ranks_in(shard(), reference) for _ in range(500)]
    naive = np.mean([rank_test(ranks, len(reference)).p_lower < 1e-3 for ranks in fresh])
    honest = np.mean([rank_test(ranks, len(reference), spread).p_lower < 1e-3 for ranks in fresh])
    assert naive > 0.05
    assert honest < 0.006


def test_a_spread_from_few_shards_is_trusted_less() -> None:
    ranks = np.full(20, 0.1)
    few = rank_test(ranks, 1000, ShardSpread(0.01, 4)).p_lower
    many = rank_test(ranks, 1000, ShardSpread(0.01, 400)).p_lower
    assert few > 5 * many


def test_paired_test_finds_a_small_but_constant_loss() -> None:
    losses = np.random.default_rng(6).normal(-0.02, 0.02, 30)
    assert paired_test(losses) < 0.01


def test_paired_test_of_equal_sides_finds_nothing() -> None:
    assert paired_test(np.zeros(20)) == 1.0
    draws = np.random.default_rng(7).normal(size=(300, 15))
    assert np.mean([paired_test(draw) <= 0.05 for draw in draws]) < 0.08


@PATIENT
@given(P_VALUES)
def test_corrections_never_make_a_p_value_smaller(p_values: np.ndarray) -> None:
    for correct in (holm, benjamini_hochberg):
        adjusted = correct(p_values)
        assert (adjusted >= p_values - 1e-12).all()
        assert (adjusted <= 1).all()


@PATIENT
@given(P_VALUES)
def test_holm_is_at_least_as_strict_as_benjamini_hochberg(p_values: np.ndarray) -> None:
    assert (holm(p_values) >= benjamini_hochberg(p_values) - 1e-12).all()


def test_corrections_of_a_known_example() -> None:
    p_values = np.array([0.04, 0.01, 0.03])
    assert holm(p_values) == pytest.approx([0.06, 0.03, 0.06])
    assert benjamini_hochberg(p_values) == pytest.approx([0.04, 0.03, 0.04])
