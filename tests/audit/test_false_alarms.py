"""Clean shards raise no alarm: shards resampled from real metrics, with and without a baseline."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from pipeline.audit.findings import ClipFinding
from pipeline.audit.judge.baseline import Baseline, make_baseline
from pipeline.audit.judge.verdict import judge
from tests.support.audit_simulation import audit_of, clean_shard, clip, pool, with_drift

NUM_CLIPS = 20


def shards(count: int, rng: np.random.Generator) -> list[ClipFinding]:
    names = (f"shard-{number:05d}" for number in range(count))
    return [finding for name in names for finding in clean_shard(name, pool(), rng, NUM_CLIPS)]


def baseline() -> Baseline:
    return make_baseline(audit_of([clip(f"s{n // 20}", n, s) for n, s in enumerate(pool())]))


def alarm_rate(clips: Sequence[ClipFinding], known: Baseline | None = None) -> float:
    judged = judge(audit_of(clips), known).shards
    return sum(shard.verdict != "ok" for shard in judged) / len(judged)


def test_clean_shards_raise_no_alarm_against_a_baseline() -> None:
    assert alarm_rate(shards(150, np.random.default_rng(1)), baseline()) < 0.01


def test_clean_shards_raise_no_alarm_against_each_other() -> None:
    rng = np.random.default_rng(2)
    for num_shards in (2, 5, 12):
        assert alarm_rate(shards(num_shards, rng)) == 0


def test_a_run_of_clean_shards_is_ok_as_a_whole() -> None:
    judged = judge(audit_of(shards(40, np.random.default_rng(3))), baseline())
    assert judged.verdict == "ok"
    assert judged.exit_code == 0


def rounding(rng: np.random.Generator, finding: ClipFinding, rate: float) -> ClipFinding:
    """Flips as another platform gives them: a few clips have most of them."""
    own = rate * rng.gamma(0.5, 2.0)
    flips = tuple(int(flip) for flip in rng.binomial(100, min(own, 0.2), 8))
    return with_drift(finding, differing_codes=flips, differing_frames=min(sum(flips), 100))


def test_rounding_on_another_platform_is_no_drift_within_its_yardstick() -> None:
    rng = np.random.default_rng(4)
    clips = [rounding(rng, finding, 0.004) for finding in shards(150, rng)]
    found = replace(audit_of(clips, same_platform=False), expected_flip_rate=(0.004,) * 8)
    judged = judge(found, baseline()).shards
    assert sum(shard.verdict == "drift" for shard in judged) / len(judged) < 0.01
    # The same flips on the run's own platform are drift: codes must be equal there.
    assert judge(audit_of(clips[:NUM_CLIPS]), baseline()).verdict == "drift"


def test_ten_times_the_yardstick_is_drift_on_another_platform() -> None:
    rng = np.random.default_rng(5)
    clips = [rounding(rng, finding, 0.05) for finding in shards(1, rng)]
    found = replace(audit_of(clips, same_platform=False), expected_flip_rate=(0.004,) * 8)
    assert judge(found, baseline()).verdict == "drift"


def test_few_clips_are_no_verdict_and_no_finding() -> None:
    clips = clean_shard("small", pool(), np.random.default_rng(6), 5)
    judged = judge(audit_of(clips), baseline())
    assert judged.verdict == "too few clips"
    assert judged.exit_code == 0


def test_one_silent_clip_does_not_make_a_silent_shard() -> None:
    clips = clean_shard("shard", pool(), np.random.default_rng(7))
    clips[0] = replace(clips[0], scores=replace(clips[0].scores, silent_original=1.0))
    assert judge(audit_of(clips), baseline()).verdict == "ok"


def test_a_baseline_of_one_language_judges_that_language_by_itself() -> None:
    rng = np.random.default_rng(8)
    known = shards(10, rng)
    harder = [
        replace(found, language="fr", scores=replace(found.scores, stoi=found.scores.stoi - 0.1))
        for found in shards(10, rng)
        if found.scores.stoi is not None
    ]
    both = make_baseline(audit_of([*known, *harder]))
    assert alarm_rate(harder[:NUM_CLIPS], both) == 0
    assert alarm_rate([replace(found, language="en") for found in harder[:NUM_CLIPS]], both) == 1


@pytest.mark.slow
def test_ten_thousand_clean_shards_raise_fewer_than_one_alarm_in_a_hundred(
    capsys: pytest.CaptureFixture[str],
) -> None:
    rate = alarm_rate(shards(10_000, np.random.default_rng(9)), baseline())
    with capsys.disabled():
        print(f"\nfalse alarms: {100 * rate:.2f} % of 10,000 clean shards")
    assert rate < 0.01
