"""Intervals by speakers hold what they promise where clips of a speaker resemble each other."""

import numpy as np
import pytest
from scipy import stats

from pipeline.evaluate.intervals import mean_by_speaker, ratio_by_speaker, ratio_difference
from pipeline.evaluate.system import Evaluation, System
from pipeline.evaluate.table import note_lines
from xy_codec.fake import FAKES

SPEAKERS, CLIPS = 12, 8


def test_equal_speakers_give_the_t_interval_of_their_means():
    values = np.random.default_rng(0).normal(size=(SPEAKERS, CLIPS))
    names = np.repeat([f"s{number}" for number in range(SPEAKERS)], CLIPS).tolist()
    found = mean_by_speaker(values.ravel().tolist(), names)
    means = values.mean(axis=1)
    low, high = stats.t.interval(0.95, SPEAKERS - 1, means.mean(), stats.sem(means))
    np.testing.assert_allclose([found.low, found.high], [low, high], rtol=1e-9)
    np.testing.assert_allclose(found.estimate, values.mean())


def test_rates_are_pooled_over_clips_of_all_lengths():
    found = ratio_by_speaker([1, 0, 5], [10, 10, 80], ["a", "b", "c"])
    assert found.estimate == 0.06


def test_two_speakers_say_nothing_of_their_spread():
    assert not mean_by_speaker([0.1, 0.2, 0.9, 0.8], ["a", "a", "b", "b"]).is_known
    assert not mean_by_speaker([0.1, 0.2], ["a", "a"]).is_known


@pytest.mark.parametrize("few_speak_most", [False, True])
def test_bounds_hold_the_truth_though_clips_of_a_speaker_resemble_each_other(few_speak_most: bool):
    """Errors depend on who speaks, and speakers have unlike numbers of clips."""
    random = np.random.default_rng(3)
    held, held_by_clips, trials = 0, 0, 300
    for _ in range(trials):
        counts = np.array([90, 80, *[1] * 30]) if few_speak_most else random.integers(2, 15, 12)
        names = np.repeat(np.arange(len(counts)), counts)
        rates = np.clip(random.normal(0.4, 0.1, len(counts)), 0.01, 0.9)[names]
        words = random.integers(5, 30, len(names))
        errors = random.binomial(words, rates)
        found = ratio_by_speaker(errors.tolist(), words.tolist(), names.astype(str).tolist())
        held += not found.excludes(0.4)
        alone = [str(number) for number in range(len(names))]
        held_by_clips += not ratio_by_speaker(errors.tolist(), words.tolist(), alone).excludes(0.4)
    assert held / trials > 0.91
    assert held_by_clips / trials < 0.8  # the trial would not tell right from wrong otherwise


def test_one_speaker_with_nearly_all_clips_leaves_the_bounds_unknown():
    names = ["a"] * 50 + ["b", "c", "d"]
    assert not mean_by_speaker(np.linspace(0, 1, len(names)).tolist(), names).is_known


def test_the_difference_of_one_system_to_itself_is_zero():
    found = ratio_difference([3, 1, 2], [3, 1, 2], [10, 10, 10], ["a", "b", "c"])
    assert (found.estimate, found.low, found.high) == (0, 0, 0)


def test_the_table_says_why_bounds_are_not_known():
    def told(speakers: list[str]) -> list[str]:
        figure = mean_by_speaker([0.1, 0.2, 0.3, 0.4], speakers)
        system = System("fake", False, {}, FAKES["fake"], figures={"stoi": figure})
        lines = note_lines(Evaluation((system,), left_out=0, untested=0))
        return [line for line in lines if line.startswith("bounds unknown")]

    assert told(["a", "b", "c", "d"]) == []
    assert "fewer than three" in told(["a", "a", "b", "b"])[0]
