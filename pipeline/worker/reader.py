"""The reading thread of a worker: it reads shards and hands the bytes of clips to the decoders.

`worker.py` starts it. It runs ahead of the decoding threads by `Tuning.ahead_bytes` at most.
"""

import logging
import queue
import threading
import time
from collections.abc import Iterator
from functools import cached_property

from pipeline.corpus.clip_source import open_clips
from pipeline.corpus.pairing import FoundClip, LateText, PairingEvent
from pipeline.corpus.shard import Shard
from pipeline.errors import InputError, StorageError
from pipeline.output.rejects import earlier_retries, rejects_left
from pipeline.output.retries import number_of, outer_of
from pipeline.worker.decode_threads import DecodeTask
from pipeline.worker.fault import fault_of
from pipeline.worker.ledger import ShardLedger
from pipeline.worker.memory_limit import MemoryLimit, StoppedError
from pipeline.worker.settings import WorkerSettings
from pipeline.worker.stage_times import StageClock, ThreadClock
from pipeline.worker.writer import ShardWriter

logger = logging.getLogger(__name__)


class ShardReader:
    """Pulls shards, reads their clips, and queues every clip that has to be decoded."""

    def __init__(
        self,
        settings: WorkerSettings,
        shards: Iterator[Shard],
        tasks: "queue.SimpleQueue[DecodeTask | None]",
        payload_bytes: MemoryLimit,
        writer: ShardWriter,
    ) -> None:
        self._settings = settings
        self._shards = shards
        self._tasks = tasks
        self._payload_bytes = payload_bytes
        self._writer = writer
        self._is_stopped = threading.Event()
        self.clock = StageClock("read")

    def stop(self) -> None:
        """End after the member that is being read."""
        self._is_stopped.set()

    def run_thread(self) -> None:
        """The body of the reading thread."""
        with self.clock.running() as clock:
            while True:
                with clock.waiting:
                    shard = next(self._shards, None)
                if shard is None:
                    break
                self._read_shard(shard, clock)
        self._tasks.put(None)
        self._writer.finish()

    def _read_shard(self, shard: Shard, clock: ThreadClock) -> None:
        ledger = ShardLedger(shard, self._settings.rules, self._writer.emit)
        self._writer.open(ledger, time.perf_counter())
        try:
            if self._settings.rules.retry:
                ledger.only = self._rejects_of(shard)
            self._read_clips(shard, ledger, clock)
        except (InputError, StorageError) as error:
            # Clips that were read before still go through the codec, but the shard is not written.
            self._writer.fail(ledger, fault_of(error, shard.url))

    def _rejects_of(self, shard: Shard) -> frozenset[str]:
        settings, output = self._settings, outer_of(self._settings.output)
        reasons = settings.rules.retry
        return rejects_left(settings.storage, output, shard, reasons, self._earlier_retries)

    @cached_property
    def _earlier_retries(self) -> list[tuple[str, str]]:
        output = self._settings.output
        return earlier_retries(self._settings.storage, outer_of(output), number_of(output))

    def _read_clips(self, shard: Shard, ledger: ShardLedger, clock: ThreadClock) -> None:
        settings = self._settings
        source = open_clips(shard, settings.storage, settings.rules, ledger.note_bytes)
        limit = settings.rules.limit
        is_limited = False
        for events in source:
            clock.step()
            for event in events:
                self._follow(event, ledger, clock)
            is_limited = limit is not None and ledger.clips_seen >= limit and not source.is_over
            if is_limited:
                break
        ledger.finish_reading(tuple(source.holes), source.members, limited=is_limited)

    def _follow(self, event: PairingEvent, ledger: ShardLedger, clock: ThreadClock) -> None:
        if self._is_stopped.is_set():
            raise StoppedError
        if isinstance(event, FoundClip):
            clip = ledger.add_clip(event.files)
            audio = event.files.audio
            if clip is None or audio is None or audio.payload is None:
                return
            with clock.waiting:
                self._payload_bytes.acquire(len(audio.payload))
            self._tasks.put(DecodeTask(ledger, clip, audio.payload))
        elif isinstance(event, LateText):
            ledger.add_late(event)
        else:
            ledger.add_reject(event)
