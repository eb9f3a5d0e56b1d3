"""All metrics together: what moves several a little is found, whatever their units and skews."""

from dataclasses import replace

import numpy as np
import pytest

from pipeline.audit.findings import TOGETHER, ClipFinding
from pipeline.audit.judge.baseline import load_baseline, make_baseline, save_baseline
from pipeline.audit.judge.together import combine, normal_scores, quantiles
from pipeline.audit.judge.verdict import judge
from pipeline.storage.client import Storage
from tests.support.audit_simulation import audit_of, clip, clustered_run, clustered_scores


def shifted(sd: float, seed: int) -> list[ClipFinding]:
    scores = clustered_scores(20, 0.2, np.random.default_rng(seed), sd)
    return [clip("worse", row, each) for row, each in enumerate(scores)]


@pytest.fixture(scope="module")
def known():
    return make_baseline(audit_of(clustered_run(20, 0.2, np.random.default_rng(1))))


def test_ranks_are_the_same_for_every_unit_and_skew() -> None:
    drawn = np.random.default_rng(0).normal(size=500)
    plain = normal_scores(drawn, quantiles(drawn))
    skewed = normal_scores(np.exp(3 * drawn), quantiles(np.exp(3 * drawn)))
    assert np.array_equal(plain, skewed)
    assert plain.std() == pytest.approx(1, abs=0.02)
    assert (np.diff(plain[np.argsort(drawn)]) > 0).all()


def test_what_lies_outside_of_the_reference_goes_on_in_a_line_and_ends() -> None:
    found = normal_scores(np.array([0.5, 1.0, 1.5, 1e9]), np.linspace(0, 1, 101))
    assert found[0] == pytest.approx(0)
    # The middle to the end is half a unit, and so is the end to 1.5.
    assert 2 * found[1] < found[2] < 2.5 * found[1]
    assert found[3] == 8
    assert not normal_scores(np.zeros(3), np.zeros(9)).any()


def test_a_metric_that_says_what_others_say_weighs_less() -> None:
    rng = np.random.default_rng(2)
    common, own = rng.normal(size=(2, 2000))
    columns = {
        "stoi": common,
        "pesq_wb": common + 0.1 * rng.normal(size=2000),
        "pesq_nb": np.full(2000, np.nan),
        "sim": own,
        "log_mel_distance_db": np.full(2000, np.nan),
        "f0_error_cents": np.ones(2000),
        "voicing_agreement": np.full(2000, np.nan),
        "dnsmos_original": np.full(2000, np.nan),
        "cer_increase": np.full(2000, np.nan),
    }
    combination = combine(columns, np.array(["a", "b"] * 1000))
    assert combination is not None
    assert set(combination.weights) == {"stoi", "pesq_wb", "sim"}
    assert combination.weights["sim"] > 1.3 * combination.weights["stoi"]
    # Higher is worse: what is above in metrics of which more is better gives less.
    scores = combination.scores(columns)
    assert np.corrcoef(scores, common)[0, 1] < -0.5


def test_what_moves_every_metric_a_little_is_found_together_and_hardly_alone(known) -> None:
    found = [judge(audit_of(shifted(2.5, seed)), known).shards[0] for seed in range(12)]
    together = [shard.changes[TOGETHER].unusual for shard in found]
    alone = [
        any(change.unusual for name, change in shard.changes.items() if name != TOGETHER)
        for shard in found
    ]
    assert sum(together) >= 10
    assert sum(alone) < sum(together)
    told = next(shard for shard, hit in zip(found, together, strict=True) if hit).faults[0]
    assert told.verdict == "unusual content"
    assert "all metrics together +" in told.evidence


def test_good_shards_are_not_found_together(known) -> None:
    found = [judge(audit_of(shifted(0, seed)), known).verdict for seed in range(20)]
    assert found.count("ok") >= 19


def test_the_score_is_not_judged_with_other_metrics_than_the_baseline_has(known) -> None:
    clips = [replace(each, scores=replace(each.scores, stoi=None)) for each in shifted(3, 0)]
    change = judge(audit_of(clips), known).shards[0].changes[TOGETHER]
    assert change.p_value is None
    assert "metrics" in (change.unjudged or "")


def test_a_baseline_file_keeps_the_score(known, tmp_path) -> None:
    path = str(tmp_path / "baseline.json")
    save_baseline(Storage(), known, path)
    clips = audit_of(shifted(2, 3))
    direct = judge(clips, known).shards[0].changes[TOGETHER]
    loaded = judge(clips, load_baseline(Storage(), path)).shards[0].changes[TOGETHER]
    assert loaded.p_value == pytest.approx(direct.p_value, rel=1e-3)
