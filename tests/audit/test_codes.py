"""Codes that differ are judged by what is heard: stored against fresh, with margins."""

import json
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from pipeline.audit.audit_output import summarize
from pipeline.audit.findings import NO_DIFFERENCE, ClipFinding, Scores
from pipeline.audit.judge.inference import unseen_share
from pipeline.audit.judge.judgement import Judgement
from pipeline.audit.judge.verdict import judge
from pipeline.audit.report.audit_page import _codebook_rows
from pipeline.audit.report.wording import headline
from tests.support.audit_simulation import audit_of, clean_shard, clean_tokens, pool, with_drift

Heard = Callable[[int], Scores]


def heard(sim: float | None, stoi: float | None, pesq: float | None = None) -> Scores:
    return replace(NO_DIFFERENCE, sim=sim, stoi=stoi, pesq_wb=pesq)


def shard(
    name: str, flips: int, sound: Heard, num_clips: int = 20, differing: int = 20
) -> list[ClipFinding]:
    """Clips of 800 codes; in the first `differing`, so many codes of the last codebook differ."""
    clips = clean_shard(name, pool(), np.random.default_rng(1), num_clips)
    books = (0,) * 7 + (flips,)
    return [
        with_drift(each, differing_codes=books, differing_frames=flips, paired=sound(number))
        if number < differing
        else each
        for number, each in enumerate(clips)
    ]


def judged(clips: list[ClipFinding], same_platform: bool = False) -> Judgement:
    found = replace(audit_of(clips), same_platform=same_platform, expected_flip_rate=(0.01,) * 8)
    return judge(found, codes_only=True)


def noise(scale: float, sim: float = 0.0, stoi: float = 0.0) -> Heard:
    drawn = np.random.default_rng(2).normal(size=(100, 3)) * scale
    return lambda number: heard(
        sim + drawn[number, 0], stoi + drawn[number, 1], 5 * drawn[number, 2]
    )


def test_clips_that_chance_did_not_draw_count_in_no_rate_and_show_nothing_of_others() -> None:
    clips = shard("a", 80, lambda _: Scores(), differing=5)
    picked = [replace(each, drawn=each.row >= 5) for each in clips]
    (found,) = judged(picked).shards
    assert found.flip_rates == (0.0,) * 8
    assert (found.num_compared, found.num_differing) == (20, 5)
    # Fifteen good clips of chance, not twenty.
    assert found.unseen_share == pytest.approx(unseen_share(15))


def test_the_page_has_the_rates_of_the_summary_where_shards_have_unequal_samples() -> None:
    clips = [*shard("a", 80, lambda _: Scores()), *shard("b", 0, lambda _: Scores(), 5)]
    found = audit_of(clips, [clean_tokens("a"), clean_tokens("b")])
    summary = json.loads(summarize(found, judge(found)))
    assert summary["flip_rate"][-1] == pytest.approx(0.8 * 20 / 25)
    assert [row.flip_rate for row in _codebook_rows(found, None)] == summary["flip_rate"]


def test_by_strata_a_rate_is_weighted_as_every_mean() -> None:
    clips = shard("a", 80, lambda _: Scores(), differing=5)
    weighed = [replace(each, weight=0.2 if each.row < 5 else 1.0) for each in clips]
    (found,) = judged(weighed).shards
    assert found.flip_rates[-1] == pytest.approx(0.8 * 5 * 0.2 / 16)


def test_equal_codes_are_equal_without_a_sound_of_either() -> None:
    clips = clean_shard("a", pool(), np.random.default_rng(1))
    found = judged(clips, same_platform=True)
    assert (found.codes_state, found.shards[0].codes_state) == ("equal", "equal")
    assert (found.verdict, found.exit_code, found.paired) == ("ok", 0, {})


def test_flips_that_nobody_hears_are_equivalent() -> None:
    found = judged(shard("a", 4, noise(0.002)))
    assert (found.codes_state, found.verdict, found.exit_code) == ("equivalent", "ok", 0)
    sim = found.shards[0].paired["sim"]
    assert (sim.state, sim.margin, sim.difference.num_values) == ("equivalent", 0.01, 20)
    assert set(found.paired) == {"sim", "stoi", "pesq_wb"}


@pytest.mark.parametrize(("sim", "stoi"), [(-0.05, 0.0), (0.0, -0.03)])
def test_a_loss_beyond_the_margin_is_drift_at_the_expected_flip_rate(
    sim: float, stoi: float
) -> None:
    found = judged(shard("a", 4, noise(0.002, sim, stoi)))
    assert (found.shards[0].codes_state, found.verdict, found.exit_code) == ("drifted", "drift", 1)
    assert "against fresh codes (margin" in found.shards[0].faults[0].evidence


def test_differences_too_wild_for_the_margin_cannot_be_judged() -> None:
    found = judged(shard("a", 4, noise(0.015), num_clips=10, differing=10))
    assert (found.shards[0].codes_state, found.exit_code) == ("cannot judge", 1)
    assert "does not show that they sound alike within 0.01" in found.shards[0].doubts[0]


def test_codes_that_differ_and_that_nobody_heard_cannot_be_judged() -> None:
    found = judged(shard("a", 4, lambda _: Scores()))
    assert (found.verdict, found.exit_code) == ("cannot judge", 1)
    assert "neither SIM nor STOI was measured" in headline(found).reason


def test_one_flipped_code_on_the_own_platform_is_heard_and_no_damage() -> None:
    clips = shard("a", 1, lambda _: heard(-0.001, -0.0005), differing=1)
    found = judged(clips, same_platform=True)
    assert (found.codes_state, found.verdict, found.exit_code) == ("equivalent", "ok", 0)
    assert "19 of 20" in headline(found).reason
    silent = judged(shard("a", 1, lambda _: Scores(), differing=1), same_platform=True)
    assert silent.verdict == "cannot judge"


def test_many_flips_on_the_own_platform_are_drift_however_they_sound() -> None:
    found = judged(shard("a", 8, noise(0.0005)), same_platform=True)
    assert [fault.name for fault in found.shards[0].faults] == ["scattered flips"]
    assert found.exit_code == 1


def test_a_clip_with_many_flips_is_named_though_its_shard_is_equivalent() -> None:
    clips = shard("a", 2, noise(0.002))
    clips[7] = with_drift(clips[7], differing_codes=(15,) * 8, differing_frames=15)
    found = judged(clips)
    assert found.shards[0].odd_clips == (f"`{clips[7].key}` differs in 15.0% of its codes",)
    assert clips[7].key in headline(found).reason


def test_one_clip_that_sounds_like_another_is_drift_of_its_shard() -> None:
    clips = shard("a", 2, noise(0.001))
    clips[7] = with_drift(clips[7], paired=heard(-0.4, -0.3))
    assert judged(clips).shards[0].codes_state == "drifted"


def test_unmeasured_clips_are_counted_and_many_leave_it_open() -> None:
    def mostly(number: int) -> Scores:
        return heard(0.0, None if number < 8 else 0.0)

    found = judged(shard("a", 4, mostly))
    stoi = found.shards[0].paired["stoi"]
    assert (stoi.unmeasured, stoi.state) == (8, "cannot judge")


def test_pesq_of_a_run_is_judged_without_its_tails() -> None:
    clips = []
    for number in range(6):
        clips += shard(f"s{number}", 4, noise(0.001))
        # One clip in twenty jumps, as PESQ does.
        clips[-1] = with_drift(clips[-1], paired=heard(0.0, 0.0, -2.0))
    found = judged(clips)
    assert found.paired["pesq_wb"].state == "equivalent"
    assert "pesq_wb" not in found.shards[0].paired


def test_a_run_whose_pesq_leaves_it_open_cannot_be_judged() -> None:
    rng = np.random.default_rng(4)
    clips = [
        each
        for name in "abcd"
        for each in shard(name, 4, lambda _: heard(0.0, 0.0, float(rng.normal())))
    ]
    found = judged(clips)
    assert {each.codes_state for each in found.shards} == {"equivalent"}
    assert (found.codes_state, found.verdict, found.exit_code) == (
        "cannot judge",
        "cannot judge",
        1,
    )
    assert "PESQ-WB of 80 clips" in headline(found).reason


def test_many_equivalent_shards_are_not_called_drifted() -> None:
    rng = np.random.default_rng(3)
    clips = []
    for number in range(200):
        drawn = rng.normal(size=(20, 2)) * 0.004

        def sound(at: int, drawn: np.ndarray = drawn) -> Scores:
            return heard(float(drawn[at, 0]), float(drawn[at, 1]), 0.0)

        clips += shard(f"s{number:03d}", 4, sound)
    states = [each.codes_state for each in judged(clips).shards]
    assert states.count("drifted") == 0
    assert states.count("equivalent") >= 190


def test_clips_of_rare_strata_count_for_as_many_as_they_stand_for() -> None:
    def rare(number: int) -> Scores:
        return heard(-0.05 if number < 10 else 0.0, 0.0, 0.0)

    def weighted(of_rare: float) -> Judgement:
        clips = shard("a", 4, rare)
        weights = [of_rare if number < 10 else 2 - of_rare for number in range(20)]
        return judged([replace(c, weight=w) for c, w in zip(clips, weights, strict=True)])

    few, most = weighted(0.1), weighted(1.9)
    assert few.codes_state == "equivalent"
    assert few.shards[0].paired["sim"].difference.estimate == pytest.approx(-0.0025)
    assert few.paired["sim"].difference.estimate == pytest.approx(-0.0025)
    assert most.codes_state == "drifted"
    assert most.shards[0].paired["sim"].difference.estimate == pytest.approx(-0.0475)
