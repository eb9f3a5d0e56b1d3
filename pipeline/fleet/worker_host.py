"""Hosts one codec and its `ShardWorker`: takes shards one by one and returns their outcomes.

The inline pool has one in this process, every Ray actor (`ray/actor.py`) is one. Every error leaves
it as the fault in an outcome.
"""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace

from pipeline.corpus.shard import Shard
from pipeline.worker.fault import fault_of
from pipeline.worker.feed import ShardFeed
from pipeline.worker.memory_limit import StoppedError
from pipeline.worker.progress import WorkerProgress
from pipeline.worker.settings import WorkerSettings
from pipeline.worker.worker import ShardWorker
from pipeline.worker.writer import ShardOutcome
from xy_codec.contract import Codec

# Threads that do not end in this time are left behind; they are daemons. The codec may have a pack
# in hand for many seconds, whose codes nobody needs any more.
_JOIN_SECONDS = 2.0


class WorkerHost:
    """Turns shards into files until it is drained or breaks."""

    def __init__(self, before_commit: Callable[[], None] = lambda: None) -> None:
        self._before_commit = before_commit
        self._codec: Codec | None = None
        self._name = ""
        self._shard_worker: ShardWorker | None = None
        self._feed = ShardFeed()
        self._waiting: dict[str, Future[ShardOutcome | None]] = {}
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._is_draining = self._is_stopped = False

    def open(self, codec: Codec, name: str) -> None:
        """Work with this codec, and stand under this name in outcomes."""
        self._codec, self._name = codec, name

    def accept(self, settings: WorkerSettings, shard: Shard) -> bool:
        """Take a shard; false when this worker is draining and does not begin it."""
        assert self._codec is not None, "open() comes before accept()"
        with self._lock:
            outcome = self._waiting.setdefault(shard.path, Future())
            if self._is_draining:
                outcome.set_result(None)
                return False
            if self._shard_worker is None:
                worker = ShardWorker(settings, self._codec)
                self._thread = threading.Thread(
                    target=self._work, args=(worker,), daemon=True, name="xytok-shards"
                )
                self._thread.start()
                self._shard_worker = worker
            self._feed.put(shard)
        return True

    def outcome(self, shard: Shard) -> ShardOutcome | None:
        """Wait for the outcome of a shard; None when it was not begun."""
        with self._lock:
            waiting = self._waiting.setdefault(shard.path, Future())
        try:
            return waiting.result()
        except BaseException as error:
            return ShardOutcome(shard, None, 0.0, fault_of(error), self._name)
        finally:
            with self._lock:
                self._waiting.pop(shard.path, None)

    def progress(self) -> WorkerProgress:
        """How far this worker is."""
        return self._shard_worker.progress() if self._shard_worker else WorkerProgress()

    def drain(self) -> None:
        """Finish what was taken, and take nothing more."""
        self._is_draining = True

    def close(self) -> None:
        """End the threads now; shards in hand are left undone."""
        self._is_draining = self._is_stopped = True
        self._feed.close()
        if self._thread is not None:
            self._thread.join(_JOIN_SECONDS)

    def _work(self, worker: ShardWorker) -> None:
        try:
            for outcome in worker.run(self._feed, lambda: self._is_stopped, self._before_commit):
                self._settle(outcome.shard, replace(outcome, worker=self._name))
            self._fail_all(StoppedError())
        except BaseException as error:
            self._fail_all(error)

    def _settle(self, shard: Shard, outcome: ShardOutcome) -> None:
        with self._lock:
            waiting = self._waiting[shard.path]
        waiting.set_result(outcome)

    def _fail_all(self, error: BaseException) -> None:
        # The driver replaces a broken worker; until then it must take no more shards.
        with self._lock:
            self._is_draining = True
            waiting = [each for each in self._waiting.values() if not each.done()]
        for outcome in waiting:
            outcome.set_exception(error)
