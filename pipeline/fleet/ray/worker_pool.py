"""The pool of Ray actors of a run: starts and ends them, calls them, and queues their reports.

`engine.py` decides how many there are and what each one does. The code that runs inside an actor is
in `actor.py`.
"""

import logging
import queue
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import Any

from pipeline.corpus.shard import Shard
from pipeline.fleet.quarantine import Loss
from pipeline.fleet.ray.actor import RayWorker, WorkerStart
from pipeline.fleet.ray.cluster import live_nodes
from pipeline.fleet.worker_count import FleetSize
from pipeline.storage.client import Storage
from pipeline.storage.retries import describe
from pipeline.worker.codec_request import CodecRequest
from pipeline.worker.settings import WorkerSettings
from pipeline.worker.writer import ShardOutcome

logger = logging.getLogger(__name__)
_FLIP_RATE_SECONDS = 900.0
# Calls that an actor runs at a time: two shards, one `load`, one `num_steps`.
_CALLS_AT_ONCE = 4


@dataclass(frozen=True, slots=True)
class Loaded:
    """A worker loaded its codec, or failed to."""

    worker: str
    start: WorkerStart | None
    error: BaseException | None


@dataclass(frozen=True, slots=True)
class Returned:
    """A worker gave a shard back; `outcome` and `error` are both None when it did not begin it."""

    worker: str
    shard: Shard
    outcome: ShardOutcome | None
    error: BaseException | None


@dataclass(frozen=True, slots=True)
class Steps:
    """How many steps a worker has made; None when it could not say."""

    worker: str
    steps: int | None


Report = Loaded | Returned | Steps


class WorkerPool:
    """Keeps the actors by the name of their worker; a name is never used twice."""

    def __init__(self, request: CodecRequest, load_minutes: float) -> None:
        self._request = request
        self._load_seconds = load_minutes * 60
        self._actors: dict[str, Any] = {}
        self._num_started = 0
        self.starts: dict[str, WorkerStart] = {}
        self.avoided_nodes: set[str] = set()
        self._reports: queue.SimpleQueue[Report] = queue.SimpleQueue()

    @property
    def num_members(self) -> int:
        """Workers that run or are being started."""
        return len(self._actors)

    def grow(self, size: FleetSize, count: int) -> None:
        """Start `count` more workers; each reports `Loaded`."""
        import ray

        actor_class = ray.remote(RayWorker).options(
            num_cpus=size.cpus_per_worker,
            num_gpus=size.gpus_per_worker,
            memory=size.memory_bytes_per_worker,
            max_concurrency=_CALLS_AT_ONCE,
            max_restarts=0,
            max_task_retries=0,
            label_selector=self._selector(),
        )
        for _ in range(count):
            worker = f"worker-{self._num_started}"
            self._num_started += 1
            self._actors[worker] = actor_class.remote()
            reference = self._actors[worker].load.remote(self._request, self._load_seconds)
            self._watch(reference, partial(Loaded, worker))

    def flip_rate(self, shard: Shard, storage: Storage) -> tuple[float, ...] | None:
        """The flip rate as the first ready worker measures it; waits for the result."""
        import ray

        actor = self._actors[next(iter(self.starts))]
        reference = actor.flip_rate.remote(self._request, shard, storage)
        try:
            rates: tuple[float, ...] | None = ray.get(reference, timeout=_FLIP_RATE_SECONDS)
        except ray.exceptions.RayError as error:
            # The run goes on: the flip rate is only recorded, and lost workers are replaced later.
            logger.warning("The flip rate could not be measured: %s", describe(error))
            return None
        return rates

    def submit(self, worker: str, settings: WorkerSettings, shard: Shard) -> None:
        """Give a worker one shard; it reports `Returned`."""
        reference = self._actors[worker].tokenize.remote(settings, shard)
        self._watch(reference, partial(Returned, worker, shard))

    def ask_steps(self, worker: str) -> None:
        """Ask a worker for its number of steps; it reports `Steps`."""
        reference = self._actors[worker].num_steps.remote()
        self._watch(reference, lambda value, _: Steps(worker, value))

    def next_report(self, timeout_seconds: float) -> Report | None:
        """The next report; None after the timeout, or when its worker was retired meanwhile."""
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
        """End the process of a worker; results of its open calls are ignored."""
        import ray

        self.starts.pop(worker, None)
        ray.kill(self._actors.pop(worker), no_restart=True)

    def retire_pending(self, count: int) -> None:
        """End up to `count` workers that still load their codec, the latest first."""
        pending = [worker for worker in self._actors if worker not in self.starts]
        for worker in pending[-count:]:
            self.retire(worker)

    def retire_all(self) -> None:
        """End every worker."""
        for worker in list(self._actors):
            self.retire(worker)

    def loss_of(self, worker: str, error: BaseException) -> Loss:
        """Why a worker is gone: its process died, or its node was lost."""
        from ray.exceptions import ActorDiedError

        start = self.starts.get(worker)
        # Only the reported death of a process on a live node counts against a shard. A worker that
        # is unreachable, or whose node was preempted, does not.
        if not isinstance(error, ActorDiedError) or error.preempted or start is None:
            return Loss.NODE_LOST
        alive = any(node.node_id == start.node_id for node in live_nodes())
        return Loss.DIED if alive else Loss.NODE_LOST

    def _selector(self) -> dict[str, str]:
        nodes = ",".join(sorted(self.avoided_nodes))
        return {"ray.io/node-id": f"!in({nodes})"} if nodes else {}

    def _watch(self, reference: Any, report: Callable[[Any, BaseException | None], Report]) -> None:
        future: Future[Any] = reference.future()

        def done(finished: Future[Any]) -> None:
            error = finished.exception()
            self._reports.put(report(None if error else finished.result(), error))

        future.add_done_callback(done)
