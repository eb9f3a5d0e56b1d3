"""The pool of Ray actors of a run: starts and ends them, calls them, and queues their reports.

The driver (`fleet/driver.py`) decides how many there are and what each one does. The code that runs
inside an actor is in `actor.py`.
"""

import logging
import queue
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future
from dataclasses import replace
from functools import partial
from typing import Any

from pipeline.corpus.rules import ReadRules
from pipeline.corpus.shard import Shard
from pipeline.fleet.pool import Accepted, Gone, Loaded, Progress, Report, Returned, WorkerStart
from pipeline.fleet.quarantine import Loss
from pipeline.fleet.ray.actor import RayWorker
from pipeline.fleet.ray.cluster import live_nodes
from pipeline.fleet.scheduler import MOST_IN_HAND
from pipeline.fleet.worker_count import FleetSize, NodeSize
from pipeline.storage.client import Storage
from pipeline.storage.retries import describe
from pipeline.worker.codec_request import CodecRequest
from pipeline.worker.fault import Fault, Owner
from pipeline.worker.settings import WorkerSettings
from pipeline.worker.staged_codec import stage_codec
from pipeline.worker.writer import ShardOutcome

logger = logging.getLogger(__name__)
_FLIP_RATE_SECONDS = 900.0
# Calls that an actor runs at a time: an outcome for each shard in hand, one `load` or `accept`, one
# question for its progress.
_CALLS_AT_ONCE = MOST_IN_HAND + 3


class RayPool:
    """Keeps the actors by the name of their worker; a name is never used twice.

    `may_get_nodes` is false for Ray on this machine alone, to which no node is ever added.
    """

    def __init__(self, request: CodecRequest, load_minutes: float) -> None:
        self._request = request
        self._load_seconds = load_minutes * 60
        self._actors: dict[str, Any] = {}
        self._nodes: dict[str, str] = {}
        self._num_started = 0
        self.starts: dict[str, WorkerStart] = {}
        self.may_get_nodes = False
        # Reports are made where they are taken: a callback of Ray must not call Ray.
        self._answers: queue.SimpleQueue[Callable[[], Report | None]] = queue.SimpleQueue()

    @property
    def num_members(self) -> int:
        """Workers that run or are being started."""
        return len(self._actors)

    def stage_codec(self, output: str, storage: Storage) -> None:
        """Let workers that start later take a repository's files from the output."""
        staged = stage_codec(self._request.source, output, storage)
        self._request = replace(self._request, staged=staged)

    def live_nodes(self) -> Sequence[NodeSize]:
        """The nodes of the cluster that are alive now."""
        return live_nodes()

    def grow(self, size: FleetSize, count: int, avoided: Collection[str]) -> None:
        """Start `count` more workers, on none of the avoided nodes; each reports `Loaded`."""
        import ray

        nodes = ",".join(sorted(avoided))
        actor_class = ray.remote(RayWorker).options(
            num_cpus=size.cpus_per_worker,
            num_gpus=size.gpus_per_worker,
            memory=size.memory_bytes_per_worker,
            max_concurrency=_CALLS_AT_ONCE,
            max_restarts=0,
            max_task_retries=0,
            label_selector={"ray.io/node-id": f"!in({nodes})"} if nodes else {},
        )
        for _ in range(count):
            worker = f"worker-{self._num_started}"
            self._num_started += 1
            actor = self._actors[worker] = actor_class.remote()
            actor.node.remote().future().add_done_callback(partial(self._note_node, worker))
            reference = actor.load.remote(self._request, self._load_seconds)
            self._watch(reference, partial(self._loaded, worker))

    def flip_rate(
        self, shard: Shard, storage: Storage, rules: ReadRules
    ) -> tuple[float, ...] | None:
        """The flip rate as the first ready worker measures it; waits for the result."""
        import ray

        actor = self._actors[next(iter(self.starts))]
        reference = actor.flip_rate.remote(self._request, shard, storage, rules)
        try:
            rates: tuple[float, ...] | None = ray.get(reference, timeout=_FLIP_RATE_SECONDS)
        except ray.exceptions.RayError as error:
            # The run goes on: the flip rate is only recorded, and lost workers are replaced later.
            logger.warning("The flip rate could not be measured: %s", describe(error))
            return None
        return rates

    def submit(self, worker: str, settings: WorkerSettings, shard: Shard) -> None:
        """Give a worker one shard; it reports `Accepted` and then `Returned`."""
        actor = self._actors[worker]
        self._watch(actor.accept.remote(settings, shard), partial(self._accepted, worker, shard))
        self._watch(actor.outcome.remote(shard), partial(self._returned, worker, shard))

    def ask_progress(self, worker: str) -> None:
        """Ask a worker how far it is; it reports `Progress`."""
        reference = self._actors[worker].progress.remote()
        self._watch(reference, lambda value, _: Progress(worker, value))

    def _note_node(self, worker: str, asked: Future[Any]) -> None:
        if asked.exception() is None:
            self._nodes[worker] = asked.result()

    def _loaded(
        self, worker: str, told: WorkerStart | Fault | None, error: BaseException | None
    ) -> Loaded:
        node = self._nodes.get(worker, "")
        if isinstance(told, WorkerStart):
            return Loaded(worker, told.node_id, told)
        fault = told or Fault(Owner.WORKER, describe(error) if error else "")
        return Loaded(worker, node, None, fault)

    def _accepted(
        self, worker: str, shard: Shard, is_taken: bool | None, error: BaseException | None
    ) -> Report | None:
        if error is not None:
            return Gone(worker, self._loss(worker, error), describe(error))
        return Accepted(worker, shard) if is_taken else None

    def _returned(
        self,
        worker: str,
        shard: Shard,
        outcome: ShardOutcome | None,
        error: BaseException | None,
    ) -> Report:
        if error is None:
            return Returned(worker, shard, outcome)
        return Gone(worker, self._loss(worker, error), describe(error))

    def next_report(self, timeout_seconds: float) -> Report | None:
        """The next report; None after the timeout, or when its worker was retired meanwhile."""
        try:
            report = self._answers.get(timeout=timeout_seconds)()
        except queue.Empty:
            return None
        if report is None or report.worker not in self._actors:
            return None
        if isinstance(report, Loaded) and report.start is not None:
            self.starts[report.worker] = report.start
            logger.info(
                "%s is ready: imports %.1f s, codec %.1f s",
                report.worker,
                report.start.import_seconds,
                report.start.load_seconds,
            )
        return report

    def retire(self, worker: str) -> None:
        """End the process of a worker; results of its open calls are ignored."""
        import ray

        self.starts.pop(worker, None)
        self._nodes.pop(worker, None)
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

    def _loss(self, worker: str, error: BaseException) -> Loss:
        """Why a worker is gone: its process died, or its node was lost."""
        from ray.exceptions import ActorDiedError, OutOfMemoryError

        if isinstance(error, OutOfMemoryError):
            # When a node's memory runs out, Ray ends a worker there, whoever took the memory.
            return Loss.OUT_OF_MEMORY
        start = self.starts.get(worker)
        # Only the reported death of a process on a live node counts against a shard. A worker that
        # is unreachable, or whose node was preempted, does not.
        if not isinstance(error, ActorDiedError) or error.preempted or start is None:
            return Loss.NODE_LOST
        alive = any(node.node_id == start.node_id for node in live_nodes())
        return Loss.DIED if alive else Loss.NODE_LOST

    def _watch(
        self, reference: Any, report: Callable[[Any, BaseException | None], Report | None]
    ) -> None:
        future: Future[Any] = reference.future()

        def done(finished: Future[Any]) -> None:
            error = finished.exception()
            self._answers.put(partial(report, None if error else finished.result(), error))

        future.add_done_callback(done)
