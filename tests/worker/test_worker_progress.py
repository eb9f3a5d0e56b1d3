"""A worker tells how far it is inside a shard, and what it did in all its life."""

import gzip
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from pipeline.corpus.listing import list_shards
from pipeline.corpus.rules import ReadRules
from pipeline.corpus.shard import Shard
from pipeline.storage.client import Storage
from pipeline.worker.settings import Tuning
from pipeline.worker.worker import ShardWorker
from tests.support.inline_run import worker_settings
from tests.support.ray_runs import wait_for
from tests.support.shard_maker import pairs, tar_bytes, write_shard
from xy_codec.contract import Encoded, Tag, Waveform
from xy_codec.fake import FakeCodec

NUM_CLIPS = 12
BAD = [("bad.json", b"{"), ("bad.mp3", b"no audio")]
SILENT = [("silent.json", b"{}"), ("silent.mp3", b"no audio")]


class GatedCodec(FakeCodec):
    """Gives a clip for every permit."""

    def __init__(self) -> None:
        super().__init__()
        self.permits = threading.Semaphore(0)

    def encode_stream(self, clips: Iterable[tuple[Tag, Waveform]]) -> Iterator[tuple[Tag, Encoded]]:
        for each in super().encode_stream(clips):
            self.permits.acquire()
            yield each

    def permit(self, count: int) -> None:
        self.permits.release(count)


class Run:
    """A worker on a thread, whose codec waits for permits."""

    def __init__(self, output: Path, shards: list[Shard]) -> None:
        self.codec = GatedCodec()
        self.worker = ShardWorker(worker_settings(output, ReadRules(), Tuning(1)), self.codec)
        self.outcomes = self.worker.run(iter(shards))
        self.thread = threading.Thread(target=self._finish, daemon=True)
        self.thread.start()

    def _finish(self) -> None:
        self.manifests = [outcome.manifest for outcome in self.outcomes]

    def wait_for_codes(self, count: int) -> None:
        wait_for(lambda: self.worker.progress().counts.codes == count, f"{count} codes")

    def end(self) -> None:
        self.codec.permit(1000)
        self.thread.join(60)
        assert not self.thread.is_alive()


def shard_of(path: Path, content: bytes) -> list[Shard]:
    write_shard(path, content)
    return list_shards([str(path)], Storage())


def test_a_worker_tells_how_far_it_is_inside_a_shard(tmp_path: Path) -> None:
    (shard,) = shard_of(tmp_path / "s.tar", tar_bytes([*pairs(NUM_CLIPS, 0.5), *SILENT]))
    run = Run(tmp_path / "out", [shard])
    run.codec.permit(5)
    run.wait_for_codes(5)
    wait_for(lambda: run.worker.progress().shards[0].clips_found == NUM_CLIPS + 1, "reading")
    told = run.worker.progress()
    (one,) = told.shards
    assert (one.path, one.size_bytes, one.bytes_read) == (shard.path, *[shard.size_bytes] * 2)
    assert one.counts.source_seconds == told.counts.source_seconds == pytest.approx(2.5, abs=0.3)
    assert one.bytes_done == pytest.approx(shard.size_bytes * 5 / (NUM_CLIPS + 1), rel=0.01)
    assert {stage.name for stage in told.stages} == {"read", "decode", "encode", "write"}
    assert told.last_stage in ("read", "decode", "encode")
    assert told.idle_seconds < 60
    run.end()
    assert run.worker.progress().steps > told.steps


def test_a_worker_counts_all_its_life_what_its_manifests_say(tmp_path: Path) -> None:
    write_shard(tmp_path / "in/b.tar", tar_bytes([*pairs(4, 0.5), *BAD, *SILENT]))
    shards = shard_of(tmp_path / "in/a.tar", tar_bytes(pairs(3, 0.5)))
    shards += list_shards([str(tmp_path / "in/b.tar")], Storage())
    run = Run(tmp_path / "out", shards)
    run.end()
    counts, done = run.worker.progress().counts, [m for m in run.manifests if m]
    assert counts.codes == sum(each.codes for each in done) == 7
    assert counts.rejects == {"bad_json": 1, "undecodable": 1}
    assert counts.source_seconds == pytest.approx(sum(each.source_seconds for each in done))
    assert run.worker.progress().bytes_read == sum(each.size_bytes for each in shards)
    assert run.worker.progress().shards == ()


def test_clips_count_while_the_json_that_they_wait_for_is_not_read(tmp_path: Path) -> None:
    members = pairs(NUM_CLIPS, 0.5)
    members.sort(key=lambda member: member[0].endswith(".json"))
    run = Run(tmp_path / "out", shard_of(tmp_path / "s.tar", tar_bytes(members)))
    run.codec.permit(5)
    run.wait_for_codes(5)
    run.end()
    assert run.worker.progress().counts.codes == NUM_CLIPS


def test_a_compressed_shard_counts_the_bytes_of_its_file(tmp_path: Path) -> None:
    (shard,) = shard_of(tmp_path / "s.tar.gz", gzip.compress(tar_bytes(pairs(3, 0.5))))
    run = Run(tmp_path / "out", [shard])
    wait_for(lambda: len(run.worker.progress().shards) == 1, "the shard")
    wait_for(lambda: run.worker.progress().bytes_read == shard.size_bytes, "its bytes")
    run.end()
