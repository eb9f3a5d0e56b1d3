"""The reading thread of a worker: it reads tars and hands the bytes of clips to the decoders.

`worker.py` starts it. It runs ahead of the decoding threads by `Tuning.ahead_bytes` at most.
"""

import logging
import queue
import threading
import time
from collections import Counter
from collections.abc import Iterator

from pipeline.corpus.pairing import (
    AUDIO_EXTENSIONS,
    FoundClip,
    LateText,
    Pairing,
    PairingEvent,
)
from pipeline.corpus.shard import Shard, open_shard
from pipeline.corpus.tar_reader import TarReader
from pipeline.errors import InputError, StorageError
from pipeline.storage.location import redact
from pipeline.worker.decode_threads import DecodeTask
from pipeline.worker.fault import fault_of
from pipeline.worker.ledger import ShardLedger
from pipeline.worker.memory_limit import MemoryLimit, StoppedError
from pipeline.worker.settings import WorkerSettings
from pipeline.worker.stage_times import StageClock, ThreadClock
from pipeline.worker.writer import ShardWriter

logger = logging.getLogger(__name__)


class ShardReader:
    """Pulls shards, reads their tars, and queues every clip that has to be decoded."""

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
            self._read_members(shard, ledger, clock)
        except (InputError, StorageError) as error:
            # Clips that were read before still go through the codec, but the shard is not written.
            self._writer.fail(ledger, fault_of(error, shard.url))

    def _read_members(self, shard: Shard, ledger: ShardLedger, clock: ThreadClock) -> None:
        reader = TarReader(
            open_shard(shard, self._settings.storage, ledger.note_bytes),
            size_bytes=shard.end_bytes,
            max_member_bytes=self._settings.rules.max_member_bytes,
        )
        pairing = Pairing()
        limit = self._settings.rules.limit
        is_limited = False
        for member in reader:
            clock.step()
            for event in pairing.feed(member):
                self._follow(event, ledger, clock)
            is_limited = limit is not None and ledger.clips_seen >= limit
            if is_limited:
                break
        else:
            for event in pairing.finish():
                self._follow(event, ledger, clock)
        if not pairing.has_audio and pairing.unknown.total() and not reader.holes:
            raise _no_audio(shard, pairing.unknown)
        ledger.finish_reading(tuple(reader.holes), reader.members, limited=is_limited)

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


def _no_audio(shard: Shard, unknown: Counter[str]) -> InputError:
    seen = ", ".join(
        f"{count} {f'`.{kind[:20]}`' if kind else 'without extension'}"
        for kind, count in unknown.most_common(10)
    )
    return InputError(
        f"Shard `{redact(shard.url)}` has no audio; its members beside JSON and text are {seen}; "
        f"expected {', '.join(f'`.{kind}`' for kind in sorted(AUDIO_EXTENSIONS))}; rename them if "
        "they are audio, or leave the shard out"
    )
