"""Shards whose codes do not follow from those of the others stand out, without decoding a clip."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from pipeline.audit.codes.part_file import NUM_CLASSES, CodeBatch
from pipeline.audit.codes.token_report import TokenReport
from pipeline.audit.findings import CODE_BITS, ORDER_BITS
from pipeline.audit.judge.tokens import code_bits, code_changes
from pipeline.audit.judge.verdict import judge
from tests.support.audit_simulation import audit_of, clean_tokens, clip, pool
from xy_codec.codes_shape import CodesShape
from xy_codec.fake import FAKES

SHAPE: CodesShape = FAKES["fake"]
Change = Callable[[np.ndarray, np.random.Generator], np.ndarray]


def speech_like(frames: int, rng: np.random.Generator) -> np.ndarray:
    """Codes that hold, or go to a near entry, as those of speech do; some entries are frequent."""
    steps = np.where(rng.random((8, frames)) < 0.4, 0, rng.integers(-3, 4, (8, frames)))
    jumps = np.where(rng.random((8, frames)) < 0.1, rng.geometric(0.01, (8, frames)), 0)
    return np.mod(np.cumsum(steps + jumps, axis=1), 400)


def report(name: str, codes: np.ndarray) -> TokenReport:
    """The report of a shard of one row, counted as the audit counts."""
    frames = codes.shape[1]
    batch = CodeBatch(
        codes, np.zeros(frames, np.int64), np.ones(1, np.bool_), np.zeros(1, np.uint64)
    )
    return replace(
        clean_tokens(name),
        frames=frames,
        counts=batch.count_values(SHAPE),
        class_steps=batch.count_class_steps(),
    )


def shards(change: Change | None = None, count: int = 12) -> list[TokenReport]:
    """Good shards, of which the fourth is changed."""
    rng = np.random.default_rng(0)
    codes = [speech_like(4000, rng) for _ in range(count)]
    if change:
        codes[3] = change(codes[3], rng)
    return [report(f"s{number:02d}", each) for number, each in enumerate(codes)]


def test_steps_do_not_cross_from_one_row_to_the_next() -> None:
    codes = np.tile(np.array([1, 2, 65, 2]), (8, 1))
    batch = CodeBatch(codes, np.array([0, 0, 1, 1]), np.ones(2, np.bool_), np.zeros(2, np.uint64))
    steps = batch.count_class_steps()
    assert steps.shape == (NUM_CLASSES, NUM_CLASSES)
    assert (steps[1, 2], steps.sum()) == (2, 2)


def test_even_use_of_every_entry_costs_ten_bits() -> None:
    flat = np.full((8, 1024), 10)
    reports = [replace(clean_tokens(name), frames=10_240, counts=flat) for name in "ab"]
    found = code_bits(reports)["a"]
    assert found[CODE_BITS] == pytest.approx(10)
    assert found[ORDER_BITS] == pytest.approx(0)


FAULTS: dict[str, tuple[Change, str]] = {
    "another codec's": (lambda codes, rng: rng.permutation(1024)[codes], CODE_BITS),
    "stuck": (lambda codes, rng: np.repeat(codes[:, :1], codes.shape[1], axis=1), CODE_BITS),
    "out of order": (lambda codes, rng: codes[:, rng.permutation(codes.shape[1])], ORDER_BITS),
    "codebooks swapped": (lambda codes, rng: codes[::-1] + 400, CODE_BITS),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_shard_of_other_codes_stands_out_alone(fault: str) -> None:
    change, metric = FAULTS[fault]
    found = code_changes(shards(change), {})
    p_values = {shard: each[metric].p_value or 0.0 for shard, each in found.items()}
    assert p_values.pop("s03") < 1e-5
    assert min(p_values.values()) > 0.01


def test_it_is_unusual_content_with_what_it_costs_and_good_shards_are_not() -> None:
    for change, verdict in ((None, "ok"), (FAULTS["out of order"][0], "unusual content")):
        reports = shards(change)
        clips = [
            clip(each.shard, row, pool()[(7 * row + number) % len(pool())])
            for number, each in enumerate(reports)
            for row in range(20)
        ]
        judged = judge(audit_of(clips, reports))
        assert judged.verdict == verdict
        told = {shard.shard: [fault.name for fault in shard.faults] for shard in judged.shards}
        assert told["s03"] == (["unlike codes"] if change else [])
        assert not any(faults for shard, faults in told.items() if shard != "s03")


def test_shards_are_compared_with_those_of_their_language() -> None:
    reports = shards(count=6)
    clips = {
        each.shard: [replace(clip(each.shard, 0, pool()[0]), language="en" if n < 4 else "fr")]
        for n, each in enumerate(reports)
    }
    found = code_changes(reports, clips)
    assert found["s00"][CODE_BITS].num_reference_shards == 3
    assert found["s05"][CODE_BITS].unjudged == "fewer than 3 shards to compare with"


def test_a_shard_is_held_against_mean_and_spread_of_all_others() -> None:
    reports = shards(FAULTS["stuck"][0], count=7)
    bits = code_bits(reports)
    for shard, changes in code_changes(reports, {}).items():
        for name in (CODE_BITS, ORDER_BITS):
            others = np.array([bits[each][name] for each in bits if each != shard])
            tested = changes[name].tested
            assert tested is not None
            assert changes[name].reference_mean == pytest.approx(others.mean(), abs=1e-9)
            assert tested.between == pytest.approx(others.std(ddof=1), rel=1e-6)
