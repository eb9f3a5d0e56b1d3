"""The writing thread of a worker: it writes the part of a shard, its rejects, then its manifest.

`worker.py` starts it; ledgers give it row groups. The manifest is written last: a shard without one
is not done, even if its part is already in the output. `ShardOutcome` is what a run learns of it.
"""

import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from pipeline.corpus.shard import Shard, list_path
from pipeline.errors import StorageError
from pipeline.output.manifest import Manifest, ManifestName, write_manifest
from pipeline.output.part import PartRow, PartWriter
from pipeline.output.rejects import publish_rejects
from pipeline.storage.location import join
from pipeline.worker.fault import Fault, fault_of
from pipeline.worker.ledger import ShardLedger
from pipeline.worker.progress import ClipCounts, ShardProgress
from pipeline.worker.settings import WorkerSettings
from pipeline.worker.stage_times import StageClock, StageTime


@dataclass(frozen=True, slots=True)
class ShardOutcome:
    """A finished shard with its manifest, or a failed one with the reason.

    `stages`, `times_out_of_memory` and `reruns_in_exact` are sums of the whole worker so far, not
    of this shard alone.
    """

    shard: Shard
    manifest: Manifest | None
    seconds: float
    fault: Fault | None = None
    worker: str = ""
    stages: tuple[StageTime, ...] = ()
    times_out_of_memory: int = 0
    reruns_in_exact: int = 0

    @property
    def is_done(self) -> bool:
        """Whether the shard's manifest was written."""
        return self.manifest is not None


@dataclass(slots=True)
class _OpenShard:
    ledger: ShardLedger
    started: float
    part: PartWriter | None = None
    fault: Fault | None = None


class ShardWriter:
    """Writes what the ledgers emit; one outcome per shard goes to `outcomes`."""

    def __init__(
        self,
        settings: WorkerSettings,
        outcomes: "queue.SimpleQueue[ShardOutcome | BaseException | None]",
        before_commit: Callable[[], None],
    ) -> None:
        self._settings = settings
        self._before_commit = before_commit
        self._outcomes = outcomes
        self._queue: queue.SimpleQueue[tuple[ShardLedger, list[PartRow]] | None] = (
            queue.SimpleQueue()
        )
        self._open: dict[int, _OpenShard] = {}
        self._lock = threading.Lock()
        self._is_finished = False
        self._closed, self._closed_bytes = ClipCounts(), 0
        self.clock = StageClock("write")

    def open(self, ledger: ShardLedger, started: float) -> None:
        """Expect row groups of a shard."""
        with self._lock:
            self._open[id(ledger)] = _OpenShard(ledger, started)

    def emit(self, ledger: ShardLedger, rows: list[PartRow]) -> None:
        """Queue a row group; an empty one says that every clip of the shard is settled."""
        self._queue.put((ledger, rows))

    def fail(self, ledger: ShardLedger, fault: Fault) -> None:
        """Give up a shard: drop its row groups, those already queued and those to come."""
        with self._lock:
            self._open[id(ledger)].fault = fault
        self._queue.put((ledger, []))

    def finish(self) -> None:
        """Say that no more shards will be opened, so that the thread ends after the last one."""
        with self._lock:
            self._is_finished = True
            is_idle = not self._open
        if is_idle:
            self._queue.put(None)

    def stop(self) -> None:
        """End the thread now and drop open shards."""
        self._queue.put(None)

    def progress(self) -> tuple[ClipCounts, int, tuple[ShardProgress, ...]]:
        """Clips and bytes of all shards so far, and the shards that are open."""
        with self._lock:
            counts, bytes_read = self._closed, self._closed_bytes
            shards = tuple(shard.ledger.progress() for shard in self._open.values())
        for each in shards:
            counts, bytes_read = counts.plus(each.counts), bytes_read + each.bytes_read
        return counts, bytes_read, shards

    def run_thread(self) -> None:
        """The body of the writing thread."""
        try:
            with self.clock.running() as clock:
                while True:
                    with clock.waiting:
                        item = self._queue.get()
                    if item is None:
                        break
                    self._take(*item)
        finally:
            for shard in self._open.values():
                if shard.part is not None:
                    shard.part.discard()
        self._outcomes.put(None)

    def _take(self, ledger: ShardLedger, rows: list[PartRow]) -> None:
        with self._lock:
            shard = self._open.get(id(ledger))
        if shard is None:
            return
        if rows and shard.fault is None:
            self._part_of(shard, ledger).add_row_group(rows)
        if not rows:
            self._close(shard, ledger)

    def _part_of(self, shard: _OpenShard, ledger: ShardLedger) -> PartWriter:
        if shard.part is None:
            shard.part = PartWriter(ledger.shard, self._settings.identity)
        return shard.part

    def _close(self, shard: _OpenShard, ledger: ShardLedger) -> None:
        manifest = None
        if shard.fault is None:
            try:
                manifest = self._publish(shard, ledger)
            except StorageError as error:
                shard.fault = fault_of(error, self._settings.output)
        if shard.part is not None:
            shard.part.discard()
        last = ledger.progress()
        with self._lock:
            del self._open[id(ledger)]
            self._closed = self._closed.plus(last.counts)
            self._closed_bytes += last.bytes_read
            is_last = self._is_finished and not self._open
        seconds = time.perf_counter() - shard.started
        self._outcomes.put(ShardOutcome(ledger.shard, manifest, seconds, shard.fault))
        if is_last:
            self._queue.put(None)

    def _publish(self, shard: _OpenShard, ledger: ShardLedger) -> Manifest:
        settings = self._settings
        part = self._part_of(shard, ledger).publish(settings.storage, settings.output)
        rejects = publish_rejects(
            ledger.rejects, ledger.shard, settings.identity, settings.storage, settings.output
        )
        if ledger.shard.listed:
            place = join(settings.output, list_path(ledger.shard.stem))
            settings.storage.write_finished(place, ledger.shard.listed)
        identity8 = settings.identity.identity8
        manifest = ledger.to_manifest(identity8, part, rejects)
        name = ManifestName.of(ledger.shard, identity8)
        self._before_commit()
        write_manifest(settings.storage, settings.output, name, manifest)
        return manifest
