"""What a shard is compared with is all other shards, as if it had never been there."""

from dataclasses import replace

import numpy as np
import pytest

from pipeline.audit.judge.reference import WHOLE, ClipColumns
from tests.support.audit_simulation import run_of_speakers


def test_a_shard_left_out_leaves_what_a_run_without_it_has() -> None:
    clips = run_of_speakers(6, 0.3, np.random.default_rng(0))
    clips = [replace(clip, weight=1.0 + clip.row % 3) for clip in clips]
    whole = ClipColumns(clips)
    for shard in sorted({clip.shard for clip in clips}):
        rest = ClipColumns(clip for clip in clips if clip.shard != shard)
        for metric in ("stoi", "log_mel_distance_db"):
            means, others = (each.shard_means(metric, WHOLE, plain=True) for each in (whole, rest))
            assert means
            assert others
            found, wanted = means.spread(without=shard), others.spread()
            assert found.num_shards == wanted.num_shards == 5
            for name in ("mean", "variance", "within", "sampling", "repeated"):
                assert getattr(found, name) == pytest.approx(getattr(wanted, name), rel=1e-9)


def test_a_shard_of_few_clips_is_in_no_spread() -> None:
    clips = run_of_speakers(4, 0.3, np.random.default_rng(0))
    clips = [clip for clip in clips if clip.shard != "shard-00001" or clip.row < 3]
    means = ClipColumns(clips).shard_means("stoi", WHOLE, plain=True)
    assert means
    assert [means.num_shards(without) for without in (None, "shard-00001", "shard-00000")] == [
        3,
        3,
        2,
    ]
