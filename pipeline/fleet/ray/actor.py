"""The worker inside a Ray actor: every call brings one shard and returns its outcome.

A plain class; `worker_pool.py` makes it an actor. Two calls run at a time: one shard is encoded
while the next one is read.
"""

import os
import queue
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace

from pipeline.corpus.shard import Shard
from pipeline.errors import WorkerError
from pipeline.storage.client import Storage
from pipeline.worker.codec_request import CodecRequest
from pipeline.worker.flip_rate import measure_flip_rate
from pipeline.worker.settings import WorkerSettings
from pipeline.worker.worker import ShardWorker
from pipeline.worker.writer import ShardOutcome
from xy_codec.contract import Codec, CodecIdentity


@dataclass(frozen=True, slots=True)
class WorkerStart:
    """A worker that loaded its codec: the codec's identity, its place, the seconds it took."""

    identity: CodecIdentity
    node_id: str
    pid: int
    import_seconds: float
    load_seconds: float


class RayWorker:
    """Loads the codec once, then turns shards into files until it is stopped or drained."""

    def __init__(self) -> None:
        self._codec: Codec | None = None
        self._shard_worker: ShardWorker | None = None
        self._node_id = ""
        self._feed: queue.SimpleQueue[Shard | None] = queue.SimpleQueue()
        self._waiting: dict[str, Future[ShardOutcome]] = {}
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._is_draining = False
        # A spot node gets SIGTERM before it ends: shards in hand are finished, no new one is begun.
        signal.signal(signal.SIGTERM, self._drain)

    def _drain(self, *_: object) -> None:
        self._is_draining = True

    def load(self, request: CodecRequest, limit_seconds: float) -> WorkerStart:
        """Load the codec and report where this worker runs."""
        import ray

        self._node_id = str(ray.get_runtime_context().get_node_id())
        started = time.perf_counter()
        import xy_codec

        # This attribute imports torch, so that the second time measures the weights alone.
        _ = xy_codec.load_codec
        imported = time.perf_counter()
        self._codec = _load_within(limit_seconds, request)
        return WorkerStart(
            identity=self._codec.identity,
            node_id=self._node_id,
            pid=os.getpid(),
            import_seconds=imported - started,
            load_seconds=time.perf_counter() - imported,
        )

    def flip_rate(
        self, request: CodecRequest, shard: Shard, storage: Storage
    ) -> tuple[float, ...] | None:
        """The share of codes per codebook that differ from those of `exact`, on this shard."""
        assert self._codec is not None, "load() comes before flip_rate()"
        return measure_flip_rate(self._codec, request, shard, storage)

    def tokenize(self, settings: WorkerSettings, shard: Shard) -> ShardOutcome | None:
        """Do one shard; None when this worker is draining and did not begin the shard."""
        outcome: Future[ShardOutcome] = Future()
        with self._lock:
            if self._is_draining:
                return None
            self._waiting[shard.path] = outcome
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._work, args=(settings,), daemon=True, name="xytok-shards"
                )
                self._thread.start()
            self._feed.put(shard)
        return outcome.result()

    def num_steps(self) -> int:
        """A count that grows as long as this worker does anything."""
        return self._shard_worker.num_steps() if self._shard_worker else 0

    def _work(self, settings: WorkerSettings) -> None:
        assert self._codec is not None, "load() comes before tokenize()"
        name = f"{self._node_id[:8]}-{os.getpid()}"
        try:
            self._shard_worker = ShardWorker(settings, self._codec)
            for outcome in self._shard_worker.run(self._shards()):
                self._waiting.pop(outcome.shard.path).set_result(replace(outcome, worker=name))
        except BaseException as error:
            self._fail_all(error)

    def _shards(self) -> Iterator[Shard]:
        while (shard := self._feed.get()) is not None:
            yield shard

    def _fail_all(self, error: BaseException) -> None:
        # The driver replaces a broken worker; until then it must take no more shards.
        with self._lock:
            self._is_draining = True
            waiting, self._waiting = self._waiting, {}
        for outcome in waiting.values():
            outcome.set_exception(error)


def _load_within(limit_seconds: float, request: CodecRequest) -> Codec:
    loading = ThreadPoolExecutor(1, "xytok-load").submit(request.load)
    try:
        return loading.result(limit_seconds)
    except TimeoutError:
        if loading.done():
            raise
        raise WorkerError(
            f"The codec `{request.source}` was not loaded after {limit_seconds / 60:g} minutes; "
            "expected its checkpoint to be read in that time; copy it to a disk or bucket near the "
            "workers and give that place as `--codec`"
        ) from None
