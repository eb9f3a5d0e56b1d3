"""One process turning shards into files: threads that read, decode, encode and write, without Ray.

The next shard is asked for, read and decoded while this one is encoded, so that the codec has no
gap between shards. Queues are bounded in bytes and seconds; no result depends on who is first.
"""

import contextlib
import logging
import queue
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace

from pipeline.corpus.shard import Shard
from pipeline.storage.retries import describe, num_failed_tries
from pipeline.worker.decode_threads import DecodePool, ReadyClip
from pipeline.worker.encoder import ClipEncoder
from pipeline.worker.in_flight import InFlightLimit, StoppedError
from pipeline.worker.reader import ShardReader
from pipeline.worker.settings import WorkerSettings
from pipeline.worker.stage_times import StageClock, StageTime
from pipeline.worker.writer import ShardOutcome, ShardWriter
from xy_codec.contract import Codec

logger = logging.getLogger(__name__)
_JOIN_SECONDS = 10.0


class ShardWorker:
    """Runs shards through a codec; a plain class, used alone or wrapped in an actor."""

    def __init__(self, settings: WorkerSettings, codec: Codec) -> None:
        self._settings = settings
        self._codec = codec
        if settings.tuning.packs_in_flight and getattr(codec, "packs_in_flight", 0):
            codec.packs_in_flight = settings.tuning.packs_in_flight  # type: ignore[attr-defined]
        self._clocks: list[StageClock] = []

    def run(self, shards: Iterator[Shard]) -> Iterator[ShardOutcome]:
        """Yield one outcome per shard, as they finish; an error that no shard caused is raised.

        `shards` is pulled from early, in a thread, and may wait for its next shard.
        """
        outcomes: queue.SimpleQueue[ShardOutcome | BaseException | None] = queue.SimpleQueue()
        ready: queue.SimpleQueue[ReadyClip | None] = queue.SimpleQueue()
        payload_bytes = InFlightLimit(self._settings.tuning.ahead_bytes)
        identity = self._codec.identity
        pool = DecodePool(
            self._settings, identity.input_rate_hz, identity.samples_per_frame, payload_bytes, ready
        )
        writer = ShardWriter(self._settings, outcomes)
        encoder = ClipEncoder(self._codec, ready, pool, self._settings.tuning)
        reader = ShardReader(self._settings, shards, pool.tasks, payload_bytes, writer)
        self._clocks = [stage.clock for stage in (reader, pool, encoder, writer)]
        bodies = {"read": reader.run_thread, "encode": encoder.run_thread}
        bodies |= {f"decode-{n}": pool.run_thread for n in range(pool.num_threads)}
        writer_thread = _start("write", writer.run_thread, outcomes)
        threads = [_start(name, body, outcomes) for name, body in bodies.items()]
        try:
            for outcome in _until_done(outcomes):
                yield replace(
                    outcome,
                    stages=tuple(self.stage_times()),
                    times_out_of_memory=getattr(self._codec, "times_out_of_memory", 0),
                )
        finally:
            for budget in (payload_bytes, pool.seconds):
                budget.stop()
            reader.stop()
            pool.tasks.put(None)
            ready.put(None)
            writer.stop()
            for thread in (*threads, writer_thread):
                thread.join(_JOIN_SECONDS)

    def stage_times(self) -> list[StageTime]:
        """Busy seconds per stage of the current or last run."""
        return [clock.time() for clock in self._clocks]

    def num_steps(self) -> int:
        """A count that grows while anything is done; a long clip is many packs, but one step."""
        packs: int = getattr(self._codec, "packs_run", 0)
        return sum(clock.steps for clock in self._clocks) + packs + num_failed_tries()


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


def _until_done(
    outcomes: "queue.SimpleQueue[ShardOutcome | BaseException | None]",
) -> Iterator[ShardOutcome]:
    while True:
        outcome = outcomes.get()
        if outcome is None:
            return
        if isinstance(outcome, BaseException):
            raise outcome
        yield outcome
