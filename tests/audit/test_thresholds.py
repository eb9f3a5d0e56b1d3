"""Every limit behind a verdict is a flag, and wrong ones are refused before any work."""

import argparse

import pytest

from jobs.threshold_options import add_threshold_options, thresholds_of
from pipeline.audit.judge.thresholds import Thresholds
from pipeline.errors import UsageError


def parsed(*words: str) -> Thresholds:
    parser = argparse.ArgumentParser()
    add_threshold_options(parser.add_argument_group("judging"))
    return thresholds_of(parser.parse_args(words))


def test_without_flags_the_defaults_hold() -> None:
    assert parsed() == Thresholds()


def test_a_flag_changes_its_limit_only() -> None:
    assert parsed("--min-clips", "30", "--false-alarms", "0.001") == Thresholds(
        min_clips=30, false_alarms=0.001
    )


def test_all_wrong_limits_are_named_at_once() -> None:
    with pytest.raises(UsageError, match=r"--min-shift 3.*--silent-share 2"):
        parsed("--min-shift", "3", "--silent-share", "2")


def test_a_larger_effect_scale_asks_for_larger_effects() -> None:
    assert parsed("--effect-scale", "2").minimum_effect("stoi") == pytest.approx(0.04)
    assert Thresholds().minimum_effect("silent_original") is None
