"""The Ray engine: gives shards to workers, replaces lost workers, follows the cluster's size.

`run.py` uses it as an `Engine`. `scheduler.py` decides which shard goes where, `quarantine.py` what
happens after a fault, `hang_watch.py` which workers hang. `worker_pool.py` keeps the workers.
"""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from pipeline.corpus.shard import Shard
from pipeline.errors import NodeError, OutputError, WorkerError
from pipeline.fleet.drain import Drain, drained
from pipeline.fleet.hang_watch import HangWatch
from pipeline.fleet.metrics import RunMetrics
from pipeline.fleet.quarantine import Loss, QuarantinePolicy, Verdict
from pipeline.fleet.ray import cluster as ray_cluster
from pipeline.fleet.ray.actor import WorkerStart
from pipeline.fleet.ray.options import RayOptions
from pipeline.fleet.ray.worker_pool import Loaded, Returned, Steps, WorkerPool
from pipeline.fleet.scheduler import Scheduler
from pipeline.fleet.worker_count import FleetSize, NodeSize, check_fits, fleet_size
from pipeline.storage.client import Storage
from pipeline.storage.retries import describe
from pipeline.worker.codec_request import CodecRequest
from pipeline.worker.decode_threads import default_decode_threads
from pipeline.worker.settings import WorkerSettings
from pipeline.worker.writer import ShardOutcome
from xy_codec.contract import CodecIdentity
from xy_codec.errors import XYCodecError

logger = logging.getLogger(__name__)
# How long the loop waits for a report, and how often it compares the pool with the cluster.
_REPORT_SECONDS = 1.0
_RESIZE_SECONDS = 5.0
# So many failed starts, or broken workers, in a row end the run.
_MAX_FAILED_STARTS = 3
_MAX_BROKEN = 3


class RayEngine:
    """Runs shards on a Ray cluster; without an address it starts Ray on this machine."""

    def __init__(
        self, request: CodecRequest, options: RayOptions, policy: QuarantinePolicy | None = None
    ) -> None:
        self._options = options
        self._policy = policy
        self._pool = WorkerPool(request, options.load_minutes)
        self._drain = Drain(options.drain_seconds)
        self._hangs = HangWatch(options.hang_minutes * 60)
        self._is_connected = False
        self._identity: CodecIdentity | None = None
        self._failed_starts = 0
        self._broken = 0
        self._unfit = 0
        self._resized = 0.0
        self._hungry: set[str] = set()
        self.verdicts: list[tuple[str, Verdict]] = []

    def identity(self) -> CodecIdentity:
        """The identity of the codec as a worker loaded it; the driver may have no GPU."""
        if self._identity is None:
            self._is_connected = ray_cluster.connect(self._options.cluster)
            size = self._size()
            logger.info("Waiting for a first worker to start and to load the codec")
            self._pool.grow(size, 1)
            while self._identity is None:
                self._take_start(self._pool.next_report(_REPORT_SECONDS))
                if not self._pool.num_members:
                    self._pool.grow(size, 1)
        return self._identity

    def flip_rate(self, shard: Shard, storage: Storage) -> tuple[float, ...] | None:
        """The share of codes per codebook that differ from those of `exact`, on this shard."""
        self.identity()
        return self._pool.flip_rate(shard, storage)

    def run(
        self,
        settings: WorkerSettings,
        shards: Sequence[Shard],
        may_go_on: Callable[[], bool] = lambda: True,
    ) -> Iterator[ShardOutcome]:
        """Yield one outcome per shard, as they finish."""
        self.identity()
        scheduler = Scheduler(shards, self._policy)
        for worker in self._pool.starts:
            scheduler.add_worker(worker)
        self._hungry = set(self._pool.starts)
        metrics = RunMetrics(settings.identity.identity8)
        with self._drain.on_sigterm():
            for outcome in self._work(self._tuned(settings), scheduler, may_go_on):
                metrics.take(outcome)
                metrics.show(len(self._pool.starts), scheduler.num_left)
                yield outcome

    @property
    def worker_starts(self) -> list[WorkerStart]:
        """The workers that are ready now, with the seconds their start took."""
        return list(self._pool.starts.values())

    @property
    def avoided_nodes(self) -> set[str]:
        """The ids of the nodes that were set aside."""
        return set(self._pool.avoided_nodes)

    def stop_workers(self) -> None:
        """End every worker, but stay connected to the cluster."""
        self._pool.retire_all()

    def close(self) -> None:
        """End every worker, and Ray if it was started here."""
        self.stop_workers()
        if self._is_connected:
            ray_cluster.disconnect()
            self._is_connected = False

    def _work(
        self,
        settings: WorkerSettings,
        scheduler: Scheduler[Shard],
        may_go_on: Callable[[], bool],
    ) -> Iterator[ShardOutcome]:
        while scheduler.num_left:
            is_sure = may_go_on()
            if self._drain.is_asked:
                if self._drain.is_over(scheduler.num_in_hand):
                    raise drained(len(scheduler.done), scheduler.num_left)
            elif is_sure:
                self._resize(scheduler)
                self._hand_out(settings, scheduler)
            yield from self._end_hung(scheduler)
            report = self._pool.next_report(_REPORT_SECONDS)
            if isinstance(report, Returned):
                yield from self._take_back(report, scheduler)
            elif isinstance(report, Steps):
                self._hangs.note(report.worker, report.steps)
            elif self._take_start(report):
                assert report is not None
                scheduler.add_worker(report.worker)
                self._hungry.add(report.worker)

    def _end_hung(self, scheduler: Scheduler[Shard]) -> Iterator[ShardOutcome]:
        if not self._hangs.is_due:
            return
        hung, to_ask = self._hangs.look([w for w in self._pool.starts if scheduler.in_hand(w)])
        for worker in to_ask:
            self._pool.ask_steps(worker)
        for worker in hung:
            why = f"no progress for {self._options.hang_minutes:g} minutes"
            yield from self._lose(worker, Loss.DIED, why, scheduler)

    def _nodes(self) -> list[NodeSize]:
        avoided = self._pool.avoided_nodes
        return [node for node in ray_cluster.live_nodes() if node.node_id not in avoided]

    def _size(self) -> FleetSize:
        nodes = self._nodes()
        size = fleet_size(nodes, self._options)
        if self._options.workers is None:
            check_fits(size, nodes)
        return size

    def _resize(self, scheduler: Scheduler[Shard]) -> None:
        if time.monotonic() - self._resized < _RESIZE_SECONDS:
            return
        self._resized = time.monotonic()
        size = fleet_size(self._nodes(), self._options)
        target = max(1, min(size.num_workers - self._unfit, scheduler.num_left))
        missing = target - self._pool.num_members
        if missing > 0:
            logger.info("Starting %d more workers, %d in all", missing, target)
            self._pool.grow(size, missing)
        if missing < 0:
            self._pool.retire_pending(-missing)

    def _hand_out(self, settings: WorkerSettings, scheduler: Scheduler[Shard]) -> None:
        # Only workers for which something changed are looked at: with a thousand workers a look at
        # all of them would dominate. The second shards are given in a second round, so that no
        # worker gets two while another has none.
        hungry, self._hungry = [w for w in self._hungry if w in self._pool.starts], set()
        for _ in range(2):
            for worker in hungry:
                assignment = scheduler.take(worker)
                if assignment:
                    shard = replace(assignment.shard, isolate_decoding=assignment.isolated)
                    self._pool.submit(worker, settings, shard)

    def _take_start(self, report: object) -> bool:
        if not isinstance(report, Loaded):
            return False
        if report.start is None:
            assert report.error is not None
            self._count_failed_start(report.worker, report.error)
            return False
        identity = report.start.identity
        self._identity = self._identity or identity
        if identity != self._identity:
            logger.warning("%s has another identity and is not used: %s", report.worker, identity)
            self._unfit += 1
            self._pool.retire(report.worker)
            return False
        self._failed_starts = 0
        logger.info(
            "%s is ready: imports %.1f s, codec %.1f s",
            report.worker,
            report.start.import_seconds,
            report.start.load_seconds,
        )
        return True

    def _count_failed_start(self, worker: str, error: BaseException) -> None:
        self._pool.retire(worker)
        cause = ray_cluster.cause_of(error)
        if isinstance(cause, XYCodecError):
            raise cause
        self._failed_starts += 1
        if self._failed_starts >= _MAX_FAILED_STARTS:
            raise WorkerError(
                f"{self._failed_starts} workers in a row did not start (last: {describe(cause)}); "
                "expected them to load the codec; look at the worker's log in Ray's log folder, "
                "and try `--engine inline`"
            ) from error

    def _take_back(self, report: Returned, scheduler: Scheduler[Shard]) -> Iterator[ShardOutcome]:
        self._hungry.add(report.worker)
        if report.outcome is not None:
            if report.outcome.is_done:
                scheduler.finish(report.worker, report.shard.path)
                self._broken = 0
            else:
                scheduler.fail(report.worker, report.shard.path, final=True)
            yield report.outcome
        elif report.error is not None:
            yield from self._take_error(report, report.error, scheduler)
            return
        else:
            scheduler.give_back(report.worker, report.shard.path)
            # Another worker may be idle and take the shard now.
            self._hungry |= set(self._pool.starts)
        if scheduler.is_drained(report.worker):
            logger.info("%s was asked to end and finished what it had", report.worker)
            yield from self._lose(report.worker, Loss.DRAINED, "", scheduler)

    def _take_error(
        self, report: Returned, error: BaseException, scheduler: Scheduler[Shard]
    ) -> Iterator[ShardOutcome]:
        from ray.exceptions import OutOfMemoryError, RayActorError

        cause = ray_cluster.cause_of(error)
        if isinstance(cause, OutputError):
            raise cause
        if isinstance(cause, RayActorError):
            loss = self._pool.loss_of(report.worker, cause)
        elif isinstance(cause, NodeError):
            self._set_aside(report.worker, cause)
            loss = Loss.NODE_LOST
        elif isinstance(cause, OutOfMemoryError):
            # When a node's memory runs out, Ray ends a worker there, whoever took the memory.
            self._count_broken(cause)
            loss = Loss.NODE_LOST
        else:
            self._count_broken(cause)
            # When the worker held two shards, either may have broken it: both are tried alone, as
            # after a death. Only a shard that fails alone gets the failure.
            loss = Loss.DIED if len(scheduler.in_hand(report.worker)) > 1 else Loss.DRAINED
            if loss is Loss.DRAINED:
                verdict = scheduler.fail(report.worker, report.shard.path)
                if verdict is Verdict.FAILED:
                    yield ShardOutcome(report.shard, None, 0.0, describe(cause), report.worker)
        yield from self._lose(report.worker, loss, describe(cause), scheduler)

    def _set_aside(self, worker: str, cause: NodeError) -> None:
        """Start no more workers on the node of a worker; those that run there go on."""
        node_id = self._pool.starts[worker].node_id
        self._pool.avoided_nodes.add(node_id)
        logger.warning("No more workers are started on node %s: %s", node_id, cause)
        if not self._nodes():
            raise WorkerError(
                f"No node is left on which workers can do their work (last: {cause}); expected one "
                "at least; the same command resumes"
            ) from cause

    def _count_broken(self, cause: BaseException) -> None:
        # When every shard breaks its worker, the cause is not the shards: the run stops early.
        self._broken += 1
        if self._broken > _MAX_BROKEN + 2 * self._pool.num_members:
            raise WorkerError(
                f"{self._broken} shards in a row broke their workers (last: {describe(cause)}); "
                "expected some to finish; try `--engine inline --max-shards 1` to see why"
            ) from cause

    def _lose(
        self, worker: str, loss: Loss, why: str, scheduler: Scheduler[Shard]
    ) -> Iterator[ShardOutcome]:
        self._pool.retire(worker)
        self._resized = 0.0
        self._hungry |= set(self._pool.starts)
        for shard, verdict in scheduler.lose(worker, loss):
            logger.warning(
                "%s is gone (%s): %s %s%s",
                *(worker, loss.value, shard.path, verdict.value),
                f"; {why}" if why else "",
            )
            if verdict is not Verdict.AGAIN:
                self.verdicts.append((shard.path, verdict))
            if verdict is Verdict.QUARANTINED:
                error = f"quarantined: every worker it had died or hung, also decoding apart; {why}"
                yield ShardOutcome(shard, None, 0.0, error, worker)

    def _tuned(self, settings: WorkerSettings) -> WorkerSettings:
        if settings.tuning.decode_threads:
            return settings
        # Several workers share a node, so a worker must not start a thread for every core of it.
        cpus = fleet_size(self._nodes(), self._options).cpus_per_worker
        tuning = replace(settings.tuning, decode_threads=default_decode_threads(int(cpus)))
        return replace(settings, tuning=tuning)
