"""Ranks take equal steps over mixed clips of all parts, in batches of about equal length."""

import hashlib
import pickle
import time
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.errors import UsageError
from pipeline.read.batches import cut_batches, split_to
from pipeline.read.dataset import CodesDataset, Position, open_dataset
from pipeline.read.part_reader import CodesRow
from pipeline.read.plan import Piece, Plan
from tests.support.random_parts import write_parts

# Rows of each part: of very different sizes, so that no division by parts could be even.
SIZES = (700, 3, 41, 260, 1, 500, 17)
CLIPS = sum(SIZES)


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_parts(tmp_path_factory.mktemp("epochs"), SIZES)


def keys(dataset: CodesDataset, workers: int = 1, position: Position | None = None) -> list[str]:
    streams = (dataset.stream(number, workers, position) for number in range(workers))
    return [row.key for stream in streams for step in stream for row in step.rows]


def frames_of(row: CodesRow) -> int:
    return int(np.asarray(row.codes).shape[1])


def steps(dataset: CodesDataset, worker: int, workers: int) -> int:
    return sum(1 for _ in dataset.stream(worker, workers))


@pytest.mark.parametrize("batch_frames", [None, 1500])
@pytest.mark.parametrize("shuffle_buffer", [0, 100])
def test_eight_ranks_of_four_workers_take_equal_steps(
    output: Path, batch_frames: int | None, shuffle_buffer: int
) -> None:
    ranks = [
        open_dataset(
            output,
            rank=rank,
            world_size=8,
            shuffle_buffer=shuffle_buffer,
            batch_frames=batch_frames,
        )
        for rank in range(8)
    ]
    counts = [[steps(each, worker, 4) for worker in range(4)] for each in ranks]
    assert counts == [counts[0]] * 8
    found = Counter(key for each in ranks for key in keys(each, 4))
    assert max(found.values()) == 1
    assert CLIPS - 7 <= len(found) <= CLIPS


def test_what_ranks_cannot_share_comes_twice_if_wanted(output: Path) -> None:
    found = Counter(
        key
        for rank in range(8)
        for key in keys(open_dataset(output, rank=rank, world_size=8, repeat=True))
    )
    assert len(found) == CLIPS
    assert found.total() == -(-CLIPS // 8) * 8


def test_more_ranks_than_parts_share_them_and_more_than_clips_are_refused(tmp_path: Path) -> None:
    write_parts(tmp_path, (40,))
    found = [keys(open_dataset(tmp_path, rank=n, world_size=20)) for n in range(20)]
    assert [len(each) for each in found] == [2] * 20
    with pytest.raises(UsageError, match="40 clips for 41 ranks"):
        keys(open_dataset(tmp_path, rank=0, world_size=41))


def test_neighbours_after_shuffling_come_from_many_parts(tmp_path: Path) -> None:
    write_parts(tmp_path, (100,) * 12)
    dataset = open_dataset(tmp_path, shuffle_buffer=400, seed=5)
    parts = [key.partition("-")[0] for key in keys(dataset)]
    # One part after the other would give 1,188 pairs of neighbours of one part.
    assert sum(a == b for a, b in pairwise(parts)) < 400
    first, second = (keys(dataset, position=Position(epoch=epoch)) for epoch in (0, 1))
    assert sorted(first) == sorted(second)
    assert first != second


def test_batches_fit_their_budget_and_pad_little(output: Path) -> None:
    dataset = open_dataset(output, shuffle_buffer=2000, batch_frames=1500)
    batches = [[frames_of(row) for row in step.rows] for step in dataset.stream()]
    assert all(len(batch) * max(batch) <= 1500 for batch in batches)
    padded = sum(len(batch) * max(batch) for batch in batches)
    assert sum(map(sum, batches)) > 0.95 * padded
    assert sum(map(len, batches)) == CLIPS
    # Shuffled: not from short to long.
    assert [max(batch) for batch in batches] != sorted(max(batch) for batch in batches)


def test_batches_of_one_step_are_of_about_one_length_on_every_rank(output: Path) -> None:
    ranks = [
        open_dataset(output, rank=n, world_size=4, shuffle_buffer=300, batch_frames=1500)
        for n in range(4)
    ]
    longest = [[max(frames_of(r) for r in s.rows) for s in each.stream()] for each in ranks]
    spread = [max(step) - min(step) for step in zip(*longest, strict=True)]
    assert sum(spread) / len(spread) < 40  # of 5 to 200 frames


def test_cutting_and_splitting_batches() -> None:
    batches = cut_batches([30, 10, 20, 100, 10], 60)
    assert batches == [[1, 4, 2], [0], [3]]
    assert split_to(batches, 5) == [[1], [4], [2], [0], [3]]


@pytest.mark.parametrize("batch_frames", [None, 1500])
def test_a_position_resumes_with_any_number_of_workers(
    output: Path, batch_frames: int | None
) -> None:
    dataset = open_dataset(output, shuffle_buffer=150, batch_frames=batch_frames, seed=2)
    position, seen = Position(), []
    # Three workers by turns, as a DataLoader takes from them.
    streams = [dataset.stream(worker, 3, position) for worker in range(3)]
    for number in range(61):
        step = next(streams[number % 3])
        position.see(step.window, step.index)
        seen += [row.key for row in step.rows]
    saved = position.to_dict()
    for workers in (1, 2, 5):
        rest = keys(dataset, workers, Position.from_dict(saved))
        assert sorted(seen + rest) == sorted(keys(dataset))


def test_a_dataset_can_be_sent_to_loader_workers_of_any_kind(output: Path) -> None:
    dataset = open_dataset(output, shuffle_buffer=100, batch_frames=1500, where="num_frames > 50")
    wanted = keys(dataset)
    assert keys(pickle.loads(pickle.dumps(dataset))) == wanted


def test_outputs_are_mixed_by_weight_and_no_clip_comes_twice_in_an_epoch(tmp_path: Path) -> None:
    many, few = (
        write_parts(tmp_path / "m", (600, 300)),
        write_parts(tmp_path / "f", (90,), prefix="few-"),
    )
    dataset = open_dataset([many, few], weights=[3, 1], shuffle_buffer=50, seed=4)
    epochs = [keys(dataset, position=Position(epoch=epoch)) for epoch in range(4)]
    for found in epochs:
        assert len(set(found)) == len(found) == 360
        assert sum(key.startswith("few-") for key in found) == 90
        # The share holds along the way as well.
        assert 10 <= sum(key.startswith("few-") for key in found[:60]) <= 20
    # What an epoch left of the larger output comes in the next ones.
    assert len({key for found in epochs for key in found}) == 990
    assert len(keys(open_dataset([many, few]))) == 990


@pytest.mark.parametrize("ranks", [1, 3])
@pytest.mark.parametrize("weights", [(1, 1), (5, 2), (1, 9)])
@pytest.mark.parametrize("rows", [1, 7])
def test_an_epoch_of_a_mix_has_no_clip_twice_where_it_ends_in_another_order(
    ranks: int, weights: tuple[int, int], rows: int
) -> None:
    sizes = (83, 40)
    sources = [
        [Piece(str(n), at, min(rows, size - at), None, None) for at in range(0, size, rows)]
        for n, size in enumerate(sizes)
    ]
    plan = Plan(sources, weights, ranks, 10, seed=3, repeat=False)
    total: Counter[tuple[str, int]] = Counter()
    for epoch in range(40):
        seen = Counter(
            (segment.piece.url, segment.piece.group + row)
            for rank in range(ranks)
            for window in range(plan.num_windows)
            for segment in plan.segments(epoch, rank, window)
            for row in range(segment.first, segment.last)
        )
        assert set(seen.values()) == {1}
        assert sum(seen.values()) == ranks * plan.clips_per_rank
        total += seen
    # Over all epochs every clip of an output comes as often as the others, but for the last line.
    for source, size in enumerate(sizes):
        counts = [total[str(source), row] for row in range(size)]
        assert max(counts) - min(counts) <= 1


def test_the_order_of_an_epoch_of_a_mix_does_not_depend_on_the_epochs_before() -> None:
    sources = [[Piece(str(n), at, 3, None, None) for at in range(20)] for n in range(2)]

    def order(plan: Plan, epoch: int) -> list[Any]:
        return [plan.segments(epoch, 0, window) for window in range(plan.num_windows)]

    one = Plan(sources, (2, 1), 1, 10, seed=3, repeat=False)
    orders = [order(one, epoch) for epoch in range(9)]
    for epoch in (8, 3, 0):
        assert order(one, epoch) == orders[epoch]
        assert order(Plan(sources, (2, 1), 1, 10, seed=3, repeat=False), epoch) == orders[epoch]


def test_one_dialect_of_conditions_for_columns_and_json(output: Path, tmp_path: Path) -> None:
    conditions = (("num_frames", ">", 100), ("sample_rate", "==", 16000))
    words = "num_frames > 100 and sample_rate == 16000"
    wanted = keys(open_dataset(output, where=conditions))
    assert keys(open_dataset(output, where=words)) == wanted
    assert 0 < len(wanted) < CLIPS
    with pytest.raises(UsageError, match="colour >"):
        open_dataset(output, where="colour > ")


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("num_framse > 5", r"`num_framse` \(expected `num_frames`\)"),
        ("num_frames > 5 and dnsmos > 3", "`dnsmos` .*write `dnsmos != null and …`"),
    ],
)
def test_a_field_that_no_clip_has_is_refused(output: str, where: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        list(open_dataset(output, where=where))


def test_a_field_that_need_not_be_there_filters(output: str) -> None:
    assert list(open_dataset(output, where="dnsmos != null and dnsmos > 3")) == []


# Row groups of one shard each, as an audit writes them, or one of both.
@pytest.mark.parametrize("row_group_size", [700, 701])
def test_a_keep_list_leaves_out_what_it_drops_or_does_not_mention(
    output: Path, tmp_path: Path, row_group_size: int
) -> None:
    rows = [("0.tar", row, row % 3 == 0) for row in range(700)] + [("3.tar", 259, True)]
    names = ("shard", "row", "keep")
    columns = {name: [each[n] for each in rows] for n, name in enumerate(names)}
    pq.write_table(pa.table(columns), tmp_path / "keep.parquet", row_group_size=row_group_size)
    found = keys(open_dataset(output, keep=tmp_path / "keep.parquet"))
    assert found == [f"0-{row}" for row in range(0, 700, 3)] + ["3-259"]
    pq.write_table(pa.table({"row": [1]}), tmp_path / "other.parquet")
    with pytest.raises(UsageError, match="has no column keep, shard"):
        keys(open_dataset(output, keep=tmp_path / "other.parquet"))


def test_a_keep_list_of_other_codes_is_refused(output: Path, tmp_path: Path) -> None:
    (part,) = output.rglob("0.parquet")
    right, wrong = hashlib.sha256(part.read_bytes()).hexdigest(), "0" * 64
    for name, sha256 in {"right": right, "wrong": wrong}.items():
        columns = {"shard": ["0.tar"], "row": [5], "keep": [True], "part_sha256": [sha256]}
        pq.write_table(pa.table(columns), tmp_path / name)
    assert keys(open_dataset(output, keep=tmp_path / "right")) == ["0-5"]
    with pytest.raises(
        UsageError,
        match=r"another run: it is of other codes of `0\.tar`, .* `000000000000…`, and this one",
    ):
        keys(open_dataset(output, keep=tmp_path / "wrong"))


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"batch_frames": 0}, "batches of 0 frames"),
        ({"weights": [1, 2]}, r"weights \(1, 2\) for 1 output"),
        ({"weights": [0]}, r"weights \(0,\)"),
    ],
)
def test_bad_options_are_named(output: Path, options: dict[str, Any], what: str) -> None:
    with pytest.raises(UsageError, match=what):
        open_dataset(output, **options)


def test_a_core_reads_200_000_clips_a_minute(output: Path) -> None:
    # Some millions on an idle machine; the time is the processor's, the smallest of three.
    dataset = open_dataset(output, shuffle_buffer=1000)
    seconds = []
    for _ in range(3):
        started = time.process_time()
        assert len(keys(dataset)) == CLIPS
        seconds.append(time.process_time() - started)
    assert 60 * CLIPS / min(seconds) > 200_000
