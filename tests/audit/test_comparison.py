"""A comparison tests what it judges: how much better B is, clip by clip, against a margin."""

from dataclasses import replace

import numpy as np
import pytest

from pipeline.audit.findings import AuditFindings
from pipeline.audit.judge.comparison import Comparison, compare
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


def test_clips_of_many_shards_count_as_their_shards() -> None:
    rng = np.random.default_rng(2)
    names = [f"s{number:02d}" for number in range(12)]
    a = [each for name in names for each in clean_shard(name, pool(), rng, 10)]
    b = [
        replace(each, scores=replace(each.scores, sim=(each.scores.sim or 0) + 0.02)) for each in a
    ]
    found = compare(audit_of(a), audit_of(b))
    assert found.metrics["sim"].gain.num_values == 12
    assert found.metrics["sim"].difference.num_values == 120
    assert won(found, "sim") == "B"
