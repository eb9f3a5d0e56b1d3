"""A comparison tests what it judges: how much better B is, clip by clip, against a margin."""

import json
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from jobs.compare_job import _differences
from pipeline.audit.compare import Comparison, compare
from pipeline.audit.findings import AuditFindings, ClipFinding, Scores
from pipeline.audit.report.compare_page import compare_headline
from tests.support.audit_simulation import audit_of, clean_shard, pool


def side(num_clips: int = 24, **columns: np.ndarray) -> AuditFindings:
    """The same clips with some of their figures replaced."""
    clips = clean_shard("a", pool(), np.random.default_rng(0), num_clips)
    return audit_of(
        [
            replace(
                each,
                scores=replace(
                    each.scores, **{name: float(column[n]) for name, column in columns.items()}
                ),
            )
            for n, each in enumerate(clips)
        ]
    )


def won(comparison: Comparison, metric: str) -> str:
    return comparison.metrics[metric].winner


def test_gain_that_swings_around_zero_is_worse_than_none() -> None:
    swinging = np.where(np.arange(24) % 2, 3.0, -3.0)
    found = compare(side(gain_db=swinging), side(gain_db=np.zeros(24)))
    assert won(found, "gain_db") == "B"
    assert found.metrics["gain_db"].difference.estimate == 0.0
    assert found.metrics["gain_db"].gain.estimate == 3.0


def test_the_same_gain_upwards_and_downwards_is_equivalent() -> None:
    found = compare(side(gain_db=np.full(24, 3.0)), side(gain_db=np.full(24, -3.0)))
    assert won(found, "gain_db") == "equivalent"


def test_less_than_a_dropped_frame_is_no_difference() -> None:
    lengths = side(length_difference_seconds=np.full(24, -0.07))
    found = compare(lengths, side(length_difference_seconds=np.zeros(24)))
    assert won(found, "length_difference_seconds") == "equivalent"


@pytest.mark.parametrize(("loss", "scatter", "winner"), [
    (0.02, 0.005, "A"),
    (0.0005, 0.001, "equivalent"),
    (0.02, 0.2, "unclear"),
    (0.0, 0.2, "unclear"),
    (0.003, 0.0005, "equivalent"),
])  # fmt: skip
def test_a_difference_is_shown_ruled_out_or_left_open(
    loss: float, scatter: float, winner: str
) -> None:
    before = np.full(24, 0.8)
    after = before - loss + np.random.default_rng(1).normal(size=24) * scatter
    found = compare(side(stoi=before), side(stoi=after))
    assert won(found, "stoi") == winner
    headline = compare_headline(found)
    answers = {
        "A": "A sounds better",
        "equivalent": "No difference that matters",
        "unclear": "No difference was shown, nor ruled out",
    }
    assert headline.answer == answers[winner]
    assert "of 1 shard, and for those only" in headline.reason


def test_of_too_few_clips_no_side_is_better_and_unknown_bounds_are_null() -> None:
    found = compare(side(4), side(4, sim=np.full(4, 0.1)))
    assert compare_headline(found).answer == "Too few clips to say"
    assert won(found, "sim") == "unclear"
    lone = _differences(compare(side(1), side(1)))
    assert json.loads(json.dumps(lone, allow_nan=False))["metrics"]["sim"]["low"] is None


def test_clips_that_chance_did_not_draw_count_in_no_comparison() -> None:
    def picked(findings: AuditFindings) -> AuditFindings:
        return replace(
            findings, clips=tuple(replace(each, drawn=each.row < 12) for each in findings.clips)
        )

    ruined = np.where(np.arange(24) < 12, 0.8, 0.1)
    found = compare(picked(side(sim=np.full(24, 0.8))), picked(side(sim=ruined)))
    assert len(found.pairs) == 12
    assert won(found, "sim") == "equivalent"


def lost(findings: AuditFindings, count: int, kept: tuple[str, ...] = ()) -> AuditFindings:
    """The first clips without figures, but for those kept."""
    clips = [
        replace(each, scores=Scores(**{name: getattr(each.scores, name) for name in kept}))
        if each.row < count
        else each
        for each in findings.clips
    ]
    return replace(findings, clips=tuple(clips))


def test_clips_that_one_side_makes_nothing_of_leave_it_open() -> None:
    found = compare(side(), lost(side(), 10))
    assert won(found, "sim") == "unclear"
    assert found.metrics["sim"].one_sided == 10
    assert "Of up to 10 clips one side alone has a figure." in compare_headline(found).reason
    assert won(compare(side(), lost(side(), 2)), "sim") == "equivalent"


def test_equal_lengths_alone_are_no_equal_sound() -> None:
    kept = ("length_difference_seconds",)
    found = compare(side(), lost(side(), 24, kept))
    assert compare_headline(found).answer == "Nothing to judge by"


def shifted(
    clips: Sequence[ClipFinding], gains: np.ndarray, speaker: str | None = None
) -> list[ClipFinding]:
    """Clips whose SIM is better by so much."""
    return [
        replace(
            each, speaker=speaker, scores=replace(each.scores, sim=(each.scores.sim or 0.0) + gain)
        )
        for each, gain in zip(clips, gains, strict=True)
    ]


@pytest.mark.parametrize(("gains", "winner"), [
    ((0.10, 0.09, 0.11, 0.10, 0.08, 0.12), "B"),
    ((0.15, -0.05, 0.15, -0.05, 0.15, 0.15), "unclear"),
])  # fmt: skip
def test_clips_of_a_shard_count_together(gains: tuple[float, ...], winner: str) -> None:
    rng = np.random.default_rng(2)
    before, after = [], []
    for number, gain in enumerate(gains):
        clips = clean_shard(f"s{number}", pool(), rng, 20)
        before += clips
        after += shifted(clips, gain + 0.01 * rng.normal(size=20))
    found = compare(audit_of(before), audit_of(after))
    assert won(found, "sim") == winner
    # Taken for independent, these 120 clips would call B better in both cases.
    assert stats.ttest_1samp([gain for gain in gains for _ in range(20)], 0).pvalue < 1e-6


@pytest.mark.parametrize(("num_shards", "gains", "winner"), [
    (3, (0.10, 0.11), "B"),
    (3, (0.25, -0.05), "unclear"),  # speakers differ, though the means of shards do not
    (1, (0.25, -0.05), "B"),  # said for the clips of this shard only
])  # fmt: skip
def test_clips_of_a_speaker_count_together_where_shards_do(
    num_shards: int, gains: tuple[float, ...], winner: str
) -> None:
    rng = np.random.default_rng(3)
    before, after = [], []
    for shard in range(num_shards):
        clips = clean_shard(f"s{shard}", pool(), rng, 20 * len(gains))
        for number, gain in enumerate(gains):
            own = clips[20 * number : 20 * (number + 1)]
            before += shifted(own, np.zeros(20), f"speaker {number}")
            after += shifted(own, gain + 0.01 * rng.normal(size=20), f"speaker {number}")
    found = compare(audit_of(before), audit_of(after))
    assert won(found, "sim") == winner
    assert ("for those only" in compare_headline(found).reason) is (num_shards < 3)
