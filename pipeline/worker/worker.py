"""A worker: one process that turns shards into files; its threads read, decode, encode and write.

`fleet/worker_host.py` runs it for both engines; it knows nothing of Ray. It reads and
decodes the next shard while it encodes this one, so that the codec has no gap between shards.
No result depends on which thread is faster.
"""

import contextlib
import logging
import queue
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

from pipeline.corpus.shard import Shard
from pipeline.storage.retries import describe, num_failed_tries
from pipeline.worker.decode_threads import DecodePool, ReadyClip
from pipeline.worker.encoder import ClipEncoder
from pipeline.worker.feed import ShardFeed
from pipeline.worker.memory_limit import MemoryLimit, StoppedError
from pipeline.worker.progress import WorkerProgress
from pipeline.worker.reader import ShardReader
from pipeline.worker.settings import WorkerSettings
from pipeline.worker.stage_times import StageClock, StageTime
from pipeline.worker.writer import ShardOutcome, ShardWriter
from xy_codec.contract import Codec

logger = logging.getLogger(__name__)
# Threads that do not end in this time, all together, are left behind; they are daemons.
_JOIN_SECONDS = 10.0
# How often a run asks whether it is over.
_ASK_SECONDS = 0.5


class ShardWorker:
    """Runs shards through a codec."""

    def __init__(self, settings: WorkerSettings, codec: Codec) -> None:
        self._settings = settings
        self._codec = codec
        if settings.tuning.packs_in_flight and codec.counters.packs_in_flight:
            codec.counters.packs_in_flight = settings.tuning.packs_in_flight
        self._clocks: list[StageClock] = []
        self._writer: ShardWriter | None = None

    def run(
        self,
        shards: Iterator[Shard],
        is_over: Callable[[], bool] = lambda: False,
        before_commit: Callable[[], None] = lambda: None,
    ) -> Iterator[ShardOutcome]:
        """Yield one outcome per shard, as they finish; raise an error that no shard caused.

        A thread pulls from `shards` before the current shard is done, and may wait there. Once
        `is_over()` is true the run ends and leaves what is in hand undone. `before_commit` is
        called before a manifest is written; when it raises, the run ends with that error.
        """
        outcomes: queue.SimpleQueue[ShardOutcome | BaseException | None] = queue.SimpleQueue()
        ready: queue.SimpleQueue[ReadyClip | None] = queue.SimpleQueue()
        payload_bytes = MemoryLimit(self._settings.tuning.ahead_bytes)
        pool = DecodePool(self._settings, self._codec.shape, payload_bytes, ready)
        writer = ShardWriter(self._settings, outcomes, before_commit)
        encoder = ClipEncoder(self._codec, ready, pool, self._settings.tuning)
        reader = ShardReader(self._settings, shards, pool.tasks, payload_bytes, writer)
        self._clocks = [stage.clock for stage in (reader, pool, encoder, writer)]
        # After the clocks: `progress` is called from other threads.
        self._writer = writer
        bodies = {"read": reader.run_thread, "encode": encoder.run_thread}
        bodies |= {f"decode-{n}": pool.run_thread for n in range(pool.num_threads)}
        writer_thread = _start("write", writer.run_thread, outcomes)
        threads = [_start(name, body, outcomes) for name, body in bodies.items()]
        try:
            while not is_over():
                try:
                    outcome = outcomes.get(timeout=_ASK_SECONDS)
                except queue.Empty:
                    continue
                if outcome is None:
                    return
                if isinstance(outcome, BaseException):
                    raise outcome
                yield replace(
                    outcome,
                    stages=tuple(self.stage_times()),
                    times_out_of_memory=self._codec.counters.times_out_of_memory,
                    reruns_in_exact=self._codec.counters.reruns_in_exact,
                )
        finally:
            for limit in (payload_bytes, pool.seconds):
                limit.stop()
            reader.stop()
            if isinstance(shards, ShardFeed):
                shards.close()
            pool.tasks.put(None)
            encoder.stop()
            writer.stop()
            deadline = time.monotonic() + _JOIN_SECONDS
            for thread in (*threads, writer_thread):
                thread.join(max(0.0, deadline - time.monotonic()))

    def stage_times(self) -> list[StageTime]:
        """Busy seconds of each stage in the current run, or in the last one."""
        return [clock.time() for clock in self._clocks]

    def progress(self) -> WorkerProgress:
        """How far the current run is, or how far the last one got."""
        if self._writer is None:
            return WorkerProgress(num_failed_tries())
        counts, bytes_read, shards = self._writer.progress()
        last = max(self._clocks, key=lambda clock: clock.stepped)
        # Packs and failed tries count, because a long clip or a long wait is a single step.
        steps = sum(clock.steps for clock in self._clocks)
        return WorkerProgress(
            steps=steps + self._codec.counters.packs_run + num_failed_tries(),
            counts=counts,
            bytes_read=bytes_read,
            shards=shards,
            last_stage=last.name if last.steps else "",
            idle_seconds=time.perf_counter() - last.stepped if last.steps else 0.0,
            stages=tuple(self.stage_times()),
            times_out_of_memory=self._codec.counters.times_out_of_memory,
            reruns_in_exact=self._codec.counters.reruns_in_exact,
        )


def _start(
    name: str,
    body: Callable[[], None],
    outcomes: "queue.SimpleQueue[ShardOutcome | BaseException | None]",
) -> threading.Thread:
    def guarded() -> None:
        try:
            with contextlib.suppress(StoppedError):
                body()
        except BaseException as error:
            logger.debug("thread %s ended by %s", name, describe(error))
            outcomes.put(error)

    thread = threading.Thread(target=guarded, daemon=True, name=f"xytok-{name}")
    thread.start()
    return thread
