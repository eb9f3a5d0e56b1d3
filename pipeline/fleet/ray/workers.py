"""The workers of a run on Ray: started, called, lost and replaced; reports come over one queue."""

import logging
import queue
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from pipeline.corpus.shard import Shard
from pipeline.fleet.ray.actor import RayWorker, WorkerStart
from pipeline.fleet.ray.cluster import live_nodes
from pipeline.fleet.scheduler import Loss
from pipeline.fleet.worker_count import FleetSize
from pipeline.storage.client import Storage
from pipeline.storage.retries import describe
from pipeline.worker.codec_request import CodecRequest
from pipeline.worker.settings import WorkerSettings
from pipeline.worker.writer import ShardOutcome

logger = logging.getLogger(__name__)
_FLIP_RATE_SECONDS = 900.0
# Two shards in hand, one call to load, one to tell its steps.
_CALLS_AT_ONCE = 4


@dataclass(frozen=True, slots=True)
class Loaded:
    """A worker started, or did not."""

    worker: str
    start: WorkerStart | None
    error: BaseException | None


@dataclass(frozen=True, slots=True)
class Returned:
    """A shard came back: done, failed, not begun (`outcome` and `error` None), or with an error."""

    worker: str
    shard: Shard
    outcome: ShardOutcome | None
    error: BaseException | None


@dataclass(frozen=True, slots=True)
class Steps:
    """How far a worker is; None when it could not say."""

    worker: str
    steps: int | None


Report = Loaded | Returned | Steps


class RayFleet:
    """Keeps the actors; a worker's name is never used twice."""

    def __init__(self, request: CodecRequest, load_minutes: float) -> None:
        self._request = request
        self._load_seconds = load_minutes * 60
        self._actors: dict[str, Any] = {}
        self._num_started = 0
        self.starts: dict[str, WorkerStart] = {}
        self._reports: queue.SimpleQueue[Report] = queue.SimpleQueue()

    @property
    def num_members(self) -> int:
        """Workers that run or are being started."""
        return len(self._actors)

    @property
    def pending(self) -> list[str]:
        """Workers that did not report yet, latest last."""
        return [worker for worker in self._actors if worker not in self.starts]

    def grow(self, size: FleetSize, count: int) -> None:
        """Start `count` more workers; each reports `Loaded`."""
        import ray

        actor_class = ray.remote(RayWorker).options(
            num_cpus=size.cpus_per_worker,
            num_gpus=size.gpus_per_worker,
            max_concurrency=_CALLS_AT_ONCE,
            max_restarts=0,
            max_task_retries=0,
        )
        for _ in range(count):
            worker = f"worker-{self._num_started}"
            self._num_started += 1
            self._actors[worker] = actor_class.remote()
            reference = self._actors[worker].load.remote(self._request, self._load_seconds)
            self._watch(reference, self._loaded(worker))

    def flip_rate(self, shard: Shard, storage: Storage) -> tuple[float, ...] | None:
        """What the first worker that is ready measures; waits for it."""
        import ray

        actor = self._actors[next(iter(self.starts))]
        reference = actor.flip_rate.remote(self._request, shard, storage)
        try:
            rates: tuple[float, ...] | None = ray.get(reference, timeout=_FLIP_RATE_SECONDS)
        except ray.exceptions.RayError as error:
            # A note beside the run is no reason to end it; lost workers are replaced later.
            logger.warning("The flip rate could not be measured: %s", describe(error))
            return None
        return rates

    def submit(self, worker: str, settings: WorkerSettings, shard: Shard) -> None:
        """Give a worker one shard; it reports `Returned`."""
        reference = self._actors[worker].tokenize.remote(settings, shard)
        self._watch(reference, lambda value, error: Returned(worker, shard, value, error))

    def ask_steps(self, worker: str) -> None:
        """Ask how far a worker is; it reports `Steps`."""
        reference = self._actors[worker].num_steps.remote()
        self._watch(reference, lambda value, _: Steps(worker, value))

    def next_report(self, timeout_seconds: float) -> Report | None:
        """The next report of a member; None after the timeout, or when it is of a retired one."""
        try:
            report = self._reports.get(timeout=timeout_seconds)
        except queue.Empty:
            return None
        if report.worker not in self._actors:
            return None
        if isinstance(report, Loaded) and report.start is not None:
            self.starts[report.worker] = report.start
        return report

    def retire(self, worker: str) -> None:
        """End a worker's process; its open calls are forgotten."""
        import ray

        self.starts.pop(worker, None)
        ray.kill(self._actors.pop(worker), no_restart=True)

    def retire_all(self) -> None:
        """End every worker."""
        for worker in list(self._actors):
            self.retire(worker)

    def loss_of(self, worker: str, error: BaseException) -> Loss:
        """Why a worker is gone: its own death, or that of what it ran on."""
        from ray.exceptions import ActorDiedError

        start = self.starts.get(worker)
        # Anything but a reported death of the process alone (an unreachable worker, a preempted
        # node) proves nothing against a shard.
        if not isinstance(error, ActorDiedError) or error.preempted or start is None:
            return Loss.NODE_LOST
        alive = any(node.node_id == start.node_id for node in live_nodes())
        return Loss.DIED if alive else Loss.NODE_LOST

    def _loaded(self, worker: str) -> Callable[[Any, BaseException | None], Report]:
        return lambda value, error: Loaded(worker, value, error)

    def _watch(self, reference: Any, report: Callable[[Any, BaseException | None], Report]) -> None:
        future: Future[Any] = reference.future()

        def done(finished: Future[Any]) -> None:
            error = finished.exception()
            self._reports.put(report(None if error else finished.result(), error))

        future.add_done_callback(done)
