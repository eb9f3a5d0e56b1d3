"""The reading thread of a worker: shards into clips, ahead of the decoders by a bound in bytes."""

import logging
import queue
import threading
import time
from collections.abc import Iterable, Iterator

from pipeline.corpus.pairing import FoundClip, LateText, Pairing, PairingEvent
from pipeline.corpus.shard import Shard, open_shard
from pipeline.corpus.tar_reader import Hole, TarReader
from pipeline.errors import InputError, StorageError
from pipeline.worker.decode_threads import DecodeTask
from pipeline.worker.in_flight import InFlightLimit, StoppedError
from pipeline.worker.ledger import ShardLedger
from pipeline.worker.settings import WorkerSettings
from pipeline.worker.stage_times import StageClock, ThreadClock
from pipeline.worker.writer import ShardWriter

logger = logging.getLogger(__name__)


class ShardReader:
    """Pulls shards, reads their tars and hands every clip that needs decoding on."""

    def __init__(
        self,
        settings: WorkerSettings,
        shards: Iterator[Shard],
        tasks: "queue.SimpleQueue[DecodeTask | None]",
        payload_bytes: InFlightLimit,
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
                clock.pause()
                shard = next(self._shards, None)
                clock.resume()
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
            # The clips that were read go on to the codec, but the shard will not be written.
            self._writer.fail(ledger, str(error))

    def _read_members(self, shard: Shard, ledger: ShardLedger, clock: ThreadClock) -> None:
        reader = TarReader(
            open_shard(shard, self._settings.storage),
            size_bytes=shard.end_bytes,
            max_member_bytes=self._settings.rules.max_member_bytes,
        )
        pairing = Pairing()
        limit = self._settings.rules.limit
        for member in reader:
            clock.step()
            for event in pairing.feed(member):
                self._follow(event, ledger, clock)
            if limit is not None and ledger.clips_seen >= limit:
                ledger.finish_reading(tuple(reader.holes), reader.members, limited=True)
                return
        for event in pairing.finish():
            self._follow(event, ledger, clock)
        holes: Iterable[Hole] = reader.holes
        ledger.finish_reading(tuple(holes), reader.members, limited=False)

    def _follow(self, event: PairingEvent, ledger: ShardLedger, clock: ThreadClock) -> None:
        if self._is_stopped.is_set():
            raise StoppedError
        if isinstance(event, FoundClip):
            clip = ledger.add_clip(event.files)
            audio = event.files.audio
            if clip is None or audio is None or audio.payload is None:
                return
            clock.pause()
            self._payload_bytes.acquire(len(audio.payload))
            clock.resume()
            self._tasks.put(DecodeTask(ledger, clip, audio.payload))
        elif isinstance(event, LateText):
            ledger.add_late(event)
        else:
            ledger.add_reject(event)
