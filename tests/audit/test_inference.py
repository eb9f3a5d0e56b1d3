"""Intervals, tests and corrections of the audit keep what their names promise."""

from dataclasses import replace
from math import inf

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from pipeline.audit.judge.inference import (
    Prediction,
    Sample,
    Spread,
    clustered_mean,
    clustered_ratio,
    holm,
    mean_interval,
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
    return predict([(Sample(mean, variance, clips, clips), spread)])


def test_mean_interval_covers_the_mean_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(1)
    intervals = [mean_interval(rng.normal(3.0, 1.0, 8)) for _ in range(2000)]
    covered = np.mean([not interval.excludes(3.0) for interval in intervals])
    assert 0.935 <= covered <= 0.965


def clustered(rng: np.random.Generator, shards: int, of_shard: float, of_speaker: float):
    """Clips of five speakers a shard, with their clusters; the rest of the variance is theirs."""
    shard = np.repeat(np.arange(shards), 20)
    speaker = np.repeat(np.arange(5 * shards), 4)
    values = (
        rng.normal(size=shards)[shard] * np.sqrt(of_shard)
        + rng.normal(size=5 * shards)[speaker] * np.sqrt(of_speaker)
        + rng.normal(size=20 * shards) * np.sqrt(1 - of_shard - of_speaker)
    )
    return values, shard, speaker


@pytest.mark.parametrize(("of_shard", "of_speaker"), [(0.3, 0.2), (0.0, 0.4), (0.0, 0.0)])
@pytest.mark.parametrize("shards", [4, 12])
def test_an_interval_by_whole_clusters_covers(shards: int, of_shard, of_speaker) -> None:
    rng = np.random.default_rng(2)
    covered = []
    for _ in range(500):
        values, shard, speaker = clustered(rng, shards, of_shard, of_speaker)
        covered.append(not clustered_mean(values, shard, speaker).interval.excludes(0.0))
    # Two standard errors of 500 draws below 95 %; the wider of two levels may cover more.
    assert np.mean(covered) >= 0.93


def test_an_interval_of_clips_or_of_speakers_alone_covers_too_little() -> None:
    rng = np.random.default_rng(2)
    by_clip, by_speaker = [], []
    for _ in range(500):
        values, _, speaker = clustered(rng, 12, 0.3, 0.2)
        by_clip.append(not mean_interval(values).excludes(0.0))
        by_speaker.append(not clustered_ratio(values, 0 * values + 1, speaker).interval.excludes(0))
    assert np.mean(by_clip) < 0.6
    assert np.mean(by_speaker) < 0.85


@pytest.mark.parametrize(
    "interval",
    [mean_interval(np.ones(1)), clustered_mean(np.ones(9), ["a"] * 4 + ["b"] * 5).interval],
)
def test_too_few_values_leave_the_bounds_unknown(interval) -> None:
    assert (interval.low, interval.high, interval.is_known) == (-inf, inf, False)


def test_one_speaker_with_most_clips_leaves_the_bounds_unknown() -> None:
    speakers = ["a"] * 40 + ["b", "c", "d"]
    assert not clustered_mean(np.random.default_rng(0).normal(size=43), speakers).interval.is_known


def test_share_interval_of_no_hits_still_allows_some() -> None:
    # Wilson, by hand: 0 of 50 leaves z²/(n + z²).
    assert share_interval(0, 50).high == pytest.approx(1.96**2 / (50 + 1.96**2), abs=1e-4)


@pytest.mark.parametrize(("hits", "total"), [(0, 1), (1, 1), (3, 40), (20, 40), (999, 1000)])
def test_share_interval_is_wilsons(hits: int, total: int) -> None:
    expected = stats.binomtest(hits, total).proportion_ci(0.95, method="wilson")
    found = share_interval(hits, total)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-12)


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


def test_few_speakers_of_the_shard_itself_count_against_a_finding() -> None:
    spread = spread_of(np.random.default_rng(3).normal(size=12) * 0.1, within=0.04)
    found = [
        predict([(Sample(0.7, 0.04, 20, 20, repeated), spread)]).p_higher
        for repeated in (0.0, 1 / 5 - 1 / 20, 1 - 1 / 20)
    ]
    assert found[0] < 1e-3 < found[1] < found[2]
    # In a reference of as few speakers this is in the spread of its means already.
    alike = predict([(Sample(0.7, 0.04, 20, 20, 0.95), replace(spread, repeated=0.95))])
    assert alike.p_higher == pytest.approx(found[0])


def paired(differences: np.ndarray) -> float:
    return clustered_mean(differences, np.arange(len(differences))).p_value


def test_a_paired_test_of_equal_sides_finds_nothing() -> None:
    assert paired(np.zeros(20)) == 1.0
    draws = np.random.default_rng(7).normal(size=(2000, 15))
    assert 0.03 <= np.mean([paired(draw) <= 0.05 for draw in draws]) <= 0.07


def test_a_paired_test_finds_a_small_but_constant_loss() -> None:
    assert paired(np.random.default_rng(6).normal(-0.02, 0.02, 30)) < 0.01
    assert paired(np.full(5, -0.02)) == 0.0
    assert paired(np.array([-0.02])) == 1.0


def test_the_jackknife_of_equal_clusters_is_the_t_interval_of_their_means() -> None:
    values = np.random.default_rng(8).normal(size=(7, 5))
    found = clustered_mean(values.ravel(), np.repeat(np.arange(7), 5)).interval
    by_hand = mean_interval(values.mean(axis=1))
    assert (found.low, found.high) == pytest.approx((by_hand.low, by_hand.high))


@PATIENT
@given(P_VALUES)
def test_a_correction_never_makes_a_p_value_smaller(p_values: np.ndarray) -> None:
    adjusted = holm(p_values)
    assert (adjusted >= p_values - 1e-12).all()
    assert (adjusted <= 1).all()


def test_the_correction_of_a_known_example() -> None:
    assert holm(np.array([0.04, 0.01, 0.03])) == pytest.approx([0.06, 0.03, 0.06])


def test_tests_with_weights_are_corrected_by_their_shares() -> None:
    # By hand: 0.02 / 0.8 = 0.025 comes first and leaves 0.2; then 0.01 / 0.1 * 0.2 = 0.02, which
    # may not be below what came first; then 0.04 / 0.1 * 0.1.
    found = holm(np.array([0.02, 0.01, 0.04]), np.array([0.8, 0.1, 0.1]))
    assert found == pytest.approx([0.025, 0.025, 0.04])
    equal = holm(np.array([0.04, 0.01, 0.03]), np.full(3, 1 / 3))
    assert equal == pytest.approx(holm(np.array([0.04, 0.01, 0.03])))


def test_a_family_errs_at_all_no_more_often_than_it_says_however_its_tests_hang_together() -> None:
    rng = np.random.default_rng(9)
    weights = np.array([0.8, *[0.2 / 9] * 9])
    for shared in (0.0, 0.5, 0.95):
        common = rng.normal(size=(4000, 1)) * np.sqrt(shared)
        p_values = stats.norm.sf(common + rng.normal(size=(4000, 10)) * np.sqrt(1 - shared))
        erred = np.mean([holm(row, weights).min() <= 0.05 for row in p_values])
        assert erred <= 0.06
