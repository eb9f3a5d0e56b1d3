"""The progress of a run lives from its first seconds and never goes back."""

import json
import random
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from pipeline.corpus.listing import list_shards
from pipeline.corpus.rules import ReadRules
from pipeline.corpus.shard import Shard
from pipeline.fleet.engine import InlineEngine
from pipeline.fleet.live_progress import LiveProgress, RunProgress
from pipeline.fleet.pool import WorkerStart
from pipeline.fleet.progress import facts_of
from pipeline.fleet.progress_event import event_fields, read_progress
from pipeline.storage.client import Storage
from pipeline.worker.codec_request import CodecRequest
from pipeline.worker.progress import ClipCounts, ShardProgress, WorkerProgress
from pipeline.worker.settings import Tuning
from pipeline.worker.stage_times import StageTime
from pipeline.worker.writer import ShardOutcome
from tests.support.fleet_simulation import (
    Cluster,
    Node,
    Trouble,
    make_shards,
    manifest_of,
    run_simulation,
)
from tests.support.inline_run import worker_settings
from tests.support.shard_maker import pairs, write_shard
from xy_codec.contract import Encoded, Tag, Waveform
from xy_codec.fake import FakeCodec

SIZE = 1000


class Fleet:
    """Workers that a test moves; a shard has a clip of a second in every byte."""

    def __init__(self, num_shards: int, num_workers: int) -> None:
        self.now = 0.0
        self.shards = [Shard(f"s{n}", f"s{n}", SIZE, "") for n in range(num_shards)]
        self.live = LiveProgress(self.shards, lambda: self.now)
        names = [f"w{n}" for n in range(num_workers)]
        identity = FakeCodec().identity
        self.starts = {name: WorkerStart(identity, "node", name, 1, 0, 0) for name in names}
        self.hands: dict[str, list[Shard]] = {}
        self.lives: dict[str, int] = {}

    def tell(self, worker: str, shard: int, done: int) -> None:
        """A worker has done so much of a shard."""
        self.hands[worker] = [self.shards[shard]]
        counts = ClipCounts(done, 0, float(done), {})
        found = min(SIZE, done + 100)  # it reads ahead
        one = ShardProgress(f"s{shard}", SIZE, found, found, counts)
        lived = self.lives.get(worker, 0) + done
        life = ClipCounts(lived, 0, float(lived), {})
        self.live.note(worker, WorkerProgress(lived, life, found, (one,), "encode", 1.0))

    def finish(self, worker: str) -> None:
        """A worker is through with its shard."""
        (shard,) = self.hands.pop(worker)
        self.lives[worker] = self.lives.get(worker, 0) + SIZE
        self.live.take(ShardOutcome(shard, manifest_of(shard), 1.0))

    def lose(self, worker: str) -> None:
        del self.starts[worker], self.hands[worker]

    def read(self) -> RunProgress:
        return self.live.read(self.starts, self.hands, nodes_aside=0, outage_seconds=0.0)


def test_rejects_of_shards_in_hand_are_in_the_event() -> None:
    fleet = Fleet(2, 2)
    for number in range(2):
        worker, path = f"w{number}", f"s{number}"
        fleet.hands[worker] = [fleet.shards[number]]
        counts = ClipCounts(1, 0, 1.0, {"undecodable": 2})
        one = ShardProgress(path, SIZE, 9, 9, counts)
        fleet.live.note(worker, WorkerProgress(3, counts, 9, (one,), "encode", 1.0))
    event = json.loads(json.dumps(event_fields(fleet.read())))
    assert read_progress(event).counts.rejects == {"undecodable": 4}


def test_what_is_in_hand_counts() -> None:
    fleet = Fleet(1, 1)
    for second in range(11):
        fleet.now = second
        fleet.tell("w0", 0, 50 * second)
        told = fleet.read()
    assert told.counts.source_seconds == 500
    assert told.work_done == 500
    assert told.real_time_factor == told.mean_real_time_factor == 50
    assert told.eta_seconds == pytest.approx(10)
    assert (told.shards_done, told.shards_left, told.shards_in_hand) == (0, 1, 1)
    (line,) = told.lines
    assert (line.shard, line.clips, line.last_stage) == ("s0", 500, "encode")
    assert line.real_time_factor == pytest.approx(50)


def test_a_shard_does_not_count_twice_when_an_answer_comes_after_its_end() -> None:
    fleet = Fleet(2, 1)
    fleet.tell("w0", 0, 900)
    fleet.finish("w0")
    fleet.tell("w0", 0, 900)
    fleet.hands["w0"] = [fleet.shards[1]]
    assert fleet.read().counts.source_seconds == SIZE


def test_a_shard_that_ends_before_the_first_look_is_counted() -> None:
    fleet = Fleet(1, 1)
    fleet.tell("w0", 0, 900)
    stages = (StageTime("encode", 1, 0.5, 0.5),)
    outcome = ShardOutcome(fleet.shards[0], manifest_of(fleet.shards[0]), 1.0, stages=stages)
    fleet.live.note_return("w0", outcome)
    fleet.finish("w0")
    fleet.now = 0.1
    told = fleet.read()
    assert (told.counts.codes, told.idle_share, told.eta_seconds) == (SIZE, None, 0.0)


def test_lost_work_is_waited_for_and_its_speed_counts() -> None:
    fleet = Fleet(1, 2)
    seen = []
    fleet.now = 10.0
    fleet.tell("w0", 0, 800)
    seen.append(fleet.read())
    fleet.lose("w0")
    for second in range(1, 11):
        fleet.now = 10.0 + second
        fleet.tell("w1", 0, 80 * second)
        seen.append(fleet.read())
    assert [told.counts.source_seconds for told in seen] == [800] * 11
    assert seen[-1].real_time_factor == pytest.approx(80)
    fleet.tell("w1", 0, 900)
    assert fleet.read().counts.source_seconds == 900


def test_reading_shows_before_the_first_clip_is_through() -> None:
    fleet = Fleet(1, 1)
    fleet.tell("w0", 0, 0)
    assert facts_of(fleet.read()).startswith("left ?, 100B read, no clip is through yet, 0/1 shard")


def test_a_run_in_which_nothing_moves_says_so_and_promises_no_end() -> None:
    fleet = Fleet(1, 1)
    for second in range(11):
        fleet.now = second
        fleet.tell("w0", 0, 50 * second)
        fleet.read()
    for second in range(11, 90):
        fleet.now = second
        fleet.tell("w0", 0, 500)  # it answers, but does no work
        told = fleet.read()
    assert (told.still_seconds, told.eta_seconds, told.real_time_factor) == (79, None, 0)
    assert facts_of(told).startswith("nothing moved for 79 s, left ?, ")
    fleet.now = 90
    fleet.tell("w0", 0, 550)
    told = fleet.read()
    assert (told.still_seconds, told.shards_left) == (0, 1)
    assert told.eta_seconds is not None


def test_the_time_left_is_that_of_the_longest_hand_near_the_end() -> None:
    fleet = Fleet(2, 2)
    for second in range(11):
        fleet.now = second
        fleet.tell("w0", 0, 99 * second)
        fleet.tell("w1", 1, 1 * second)
        told = fleet.read()
    # 990 bytes are left for one worker; both together would need ten seconds less.
    assert told.eta_seconds == pytest.approx(990 / 50, rel=0.05)


def test_hours_of_a_cluster_with_losses_never_go_back_and_end_at_the_truth() -> None:
    rng = random.Random(7)
    shards = make_shards(rng, 40)
    nodes = [Node("n0", "A", 1.0), Node("n1", "A", 1.0, ends_at=400.0)]
    result = run_simulation(Cluster(rng, nodes, Trouble(killed_share=0.05)), shards)
    hours = [told.counts.source_seconds for told in result.progress]
    assert hours == sorted(hours)
    assert hours[-1] == result.summary.counts.source_seconds
    # A worker starts within 30 seconds, and the first shard takes minutes.
    first = next(told for told in result.progress if told.counts.source_seconds)
    assert first.shards_done == 0
    halfway = next(told for told in result.progress if told.work_done > told.work_total / 2)
    rest = result.progress[-1].seconds - halfway.seconds
    assert halfway.eta_seconds == pytest.approx(rest, rel=0.4)


class SlowCodec(FakeCodec):
    def encode_stream(self, clips: Iterable[tuple[Tag, Waveform]]) -> Iterator[tuple[Tag, Encoded]]:
        for each in super().encode_stream(clips):
            time.sleep(0.05)
            yield each


def test_one_shard_shows_a_living_line_before_it_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_shard(tmp_path / "s.tar", pairs(40, 0.5))
    shards = list_shards([str(tmp_path / "s.tar")], Storage())
    monkeypatch.setattr(CodecRequest, "load", lambda _: SlowCodec())
    settings = worker_settings(tmp_path / "out", ReadRules(), Tuning(1))
    told = list(InlineEngine(CodecRequest("fake")).run(settings, shards))
    kinds = [isinstance(each, RunProgress) for each in told]
    lines = [facts_of(each) for each in told if isinstance(each, RunProgress)]
    living = [each for each in told[: kinds.index(False)] if isinstance(each, RunProgress)]
    assert living[-1].counts.codes > 10, lines
    assert "0/1 shards" in lines[len(living) - 1]
    assert living[-1].real_time_factor > 0
    assert living[-1].eta_seconds is not None
    assert isinstance(told[-1], RunProgress)
    assert told[-1].counts.codes == 40
    assert lines[-1].startswith("left 00:00, 1/1 shards, ")
