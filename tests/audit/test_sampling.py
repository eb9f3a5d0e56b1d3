from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import xxhash
from pydantic import ValidationError

from pipeline.audit.findings import Scores
from pipeline.audit.judge.verdict import judge
from pipeline.audit.metrics.reasons import Reason
from pipeline.audit.sample.originals import OriginalReader, SourceMap
from pipeline.audit.sample.sampling import SamplePlan, choose_rows, corpus_of, row_weights
from pipeline.errors import UsageError
from pipeline.storage.client import Storage
from tests.support.audit_simulation import audit_of, clip, sampled_clip
from tests.support.places import SPEECH
from tests.support.shard_maker import member_offsets, read_members


def table(count: int = 200, rare: int = 2) -> pa.Table:
    return pa.table(
        {
            "key": [f"clip-{number}" for number in range(count)],
            "language": ["xx" if number < rare else "en" for number in range(count)],
            "dnsmos": [2.1 if number < rare else 3.3 for number in range(count)],
        }
    )


def test_the_sample_is_the_same_every_time_and_another_with_another_seed():
    plan = SamplePlan(per_shard=20, seed=1)
    rows = choose_rows(table(), "a.tar", plan)
    assert len(rows) == 20
    assert rows == sorted(rows)
    assert choose_rows(table(), "a.tar", plan) == rows
    assert choose_rows(table(), "a.tar", SamplePlan(per_shard=20, seed=2)) != rows
    assert choose_rows(table(), "b.tar", plan) != rows


def test_a_larger_sample_holds_the_smaller_one():
    small = choose_rows(table(), "a.tar", SamplePlan(per_shard=5))
    assert set(small) < set(choose_rows(table(), "a.tar", SamplePlan(per_shard=50)))


def test_rows_added_later_do_not_change_what_the_others_are_ranked_by():
    before = set(choose_rows(table(100), "a.tar", SamplePlan(fraction=0.2)))
    after = set(choose_rows(table(200), "a.tar", SamplePlan(fraction=0.2)))
    assert {row for row in after if row < 100} == before


def test_fraction_takes_about_that_share_and_never_nothing():
    assert 10 <= len(choose_rows(table(), "a.tar", SamplePlan(fraction=0.1))) <= 32
    assert len(choose_rows(table(3), "a.tar", SamplePlan(fraction=0.001))) == 1
    assert choose_rows(table(0), "a.tar", SamplePlan()) == []


@pytest.mark.parametrize("column", ["language", "dnsmos"])
def test_strata_let_rare_values_in(column):
    rows = choose_rows(table(), "a.tar", SamplePlan(per_shard=10, stratify=column))
    assert {0, 1} <= set(rows)
    assert len(rows) == 10


def test_rare_values_weigh_as_much_as_in_the_shard() -> None:
    values = np.where(np.arange(200) < 20, 1.0, 0.0)
    means, plain = [], []
    for seed in range(200):
        plan = SamplePlan(per_shard=10, stratify="language", seed=seed)
        rows = choose_rows(table(rare=20), "a.tar", plan)
        weights = row_weights(table(rare=20), "a.tar", rows, plan)
        assert sum(weights.values()) == pytest.approx(len(weights))
        means.append(np.average(values[list(weights)], weights=list(weights.values())))
        plain.append(values[list(weights)].mean())
    assert np.mean(means) == pytest.approx(values.mean(), abs=1e-9)
    assert np.mean(plain) > 0.4


@pytest.mark.parametrize("per_shard", [20, 40, 59, 80])
def test_more_speakers_than_clips_do_not_favour_those_with_many_rows(per_shard: int) -> None:
    # Ten speakers of fifty clips each, and fifty of four.
    speakers = [f"many {n % 10}" for n in range(500)] + [f"few {n % 50}" for n in range(200)]
    keys = [f"clip-{number}" for number in range(len(speakers))]
    rows = pa.table({"key": keys, "speaker": speakers})
    values = np.array([speaker.startswith("many") for speaker in speakers], float)
    means = []
    for seed in range(300):
        plan = SamplePlan(per_shard=per_shard, stratify="speaker", seed=seed)
        weights = row_weights(rows, "a.tar", choose_rows(rows, "a.tar", plan), plan)
        means.append(np.average(values[list(weights)], weights=list(weights.values())))
    assert np.mean(means) == pytest.approx(values.mean(), abs=0.02)


def test_the_mean_of_a_stratified_shard_is_that_of_its_rows() -> None:
    rows = table(rare=20)
    stoi = np.random.default_rng(0).normal(0.8, 0.05, 200) - 0.3 * (np.arange(200) < 20)
    means = []
    for seed in range(30):
        plan = SamplePlan(per_shard=20, stratify="language", seed=seed)
        weights = row_weights(rows, "a.tar", choose_rows(rows, "a.tar", plan), plan)
        clips = [
            replace(clip("a", row, Scores(stoi=float(stoi[row]))), weight=weight)
            for row, weight in weights.items()
        ]
        (shard,) = judge(audit_of(clips)).shards
        means.append(shard.changes["stoi"].mean.estimate)
    # The error of 30 means of 20 clips; without weights the mean would be 0.12 lower.
    assert np.mean(means) == pytest.approx(stoi.mean(), abs=0.01)


def test_a_dropped_row_stands_for_nothing_and_without_strata_all_weigh_the_same() -> None:
    plan = SamplePlan(per_shard=4, stratify="language")
    dropped = {f"clip-{number}" for number in range(100, 200)}
    rows = choose_rows(table(rare=20), "a.tar", plan, dropped)
    weights = row_weights(table(rare=20), "a.tar", rows, plan, dropped)
    rare, common = ([weights[row] for row in rows if (row < 20) == is_rare] for is_rare in (1, 0))
    assert common[0] / rare[0] == pytest.approx(80 / 20)
    assert set(row_weights(table(), "a.tar", [3, 5], SamplePlan()).values()) == {1.0}


@pytest.mark.parametrize("plan", [{"per_shard": 0}, {"fraction": 0}, {"fraction": 1.5}])
def test_plans_that_sample_nothing_or_too_much_are_refused(plan):
    with pytest.raises(ValidationError, match=next(iter(plan))):
        SamplePlan(**plan)


def test_corpus_is_the_folder_above_the_language():
    assert corpus_of("data/Emilia-YODAS/EN/EN-B000000.tar") == "Emilia-YODAS"
    assert corpus_of("EN-B000000.tar") is None


def test_source_map_moves_leading_paths():
    moved = SourceMap.parse(["s3://old/=/mnt/new/"])
    assert moved.locate("s3://old/EN/a.tar") == "/mnt/new/EN/a.tar"
    assert moved.locate("s3://other/a.tar") == "s3://other/a.tar"
    with pytest.raises(UsageError, match="OLD=NEW"):
        SourceMap.parse(["s3://old"])


@pytest.fixture
def facts() -> dict[str, Any]:
    """Where the first clip of a bundled shard is, and its hash."""
    path = SPEECH / "Emilia/EN/EN-B000000.tar"
    name, payload = next(iter(read_members(path, ".mp3").items()))
    _, offset = member_offsets(path.read_bytes())[name]
    hash64 = xxhash.xxh64_intdigest(payload)
    return {"url": str(path), "tar_offset": offset, "tar_size": len(payload), "audio_xxh64": hash64}


def original_of(clip):
    def read(offset, size):
        return Storage().read_range(clip.url, offset, offset + size)

    return OriginalReader(read, 16000)(clip)


def test_original_is_read_by_its_offset_alone(facts):
    found = original_of(sampled_clip(**facts))
    assert xxhash.xxh64_intdigest(found.payload) == facts["audio_xxh64"]
    assert found.same_audio is True
    assert found.waveform is not None
    assert found.waveform.size > 16000


def test_other_bytes_at_the_place_are_told(facts):
    found = original_of(sampled_clip(**facts | {"audio_xxh64": 1}))
    assert found.same_audio is False


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"tar_offset": None}, Reason.NO_OFFSET),
        ({"url": "/nowhere/a.tar"}, Reason.UNREADABLE),
        ({"tar_size": 20}, Reason.UNDECODABLE),
    ],
)
def test_an_original_that_cannot_be_had_leaves_a_reason(facts, changes, reason):
    found = original_of(sampled_clip(**facts | changes))
    assert (found.waveform, found.reason) == (None, reason)
