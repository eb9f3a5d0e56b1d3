"""Every limit behind a verdict is a flag, and wrong ones are refused before any work."""

import pytest

from jobs import cli
from pipeline.audit.judge.thresholds import Thresholds


def parsed(*words: str) -> Thresholds:
    _, bound, _ = cli.APP.parse_args(["audit", "out", *words])
    thresholds: Thresholds = bound.arguments.get("thresholds", Thresholds())
    return thresholds


def test_without_flags_the_defaults_hold() -> None:
    assert parsed() == Thresholds()


def test_a_flag_changes_its_limit_only() -> None:
    assert parsed("--min-clips", "30", "--false-alarms", "0.001") == Thresholds(
        min_clips=30, false_alarms=0.001
    )


def test_all_wrong_limits_are_named_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["audit", "out", "--false-alarms", "3", "--max-flip-rate", "2"]) == 2
    said = capsys.readouterr().err
    assert "--false-alarms 3" in said
    assert "--max-flip-rate 2" in said


def test_a_larger_effect_scale_asks_for_larger_effects() -> None:
    assert parsed("--effect-scale", "2").minimum_effect("stoi") == pytest.approx(0.04)
    assert Thresholds().minimum_effect("silent_original") is None
