"""The driver of a run: starts workers, hands out shards, and acts on every fault by its owner.

Both engines use it with a pool of their own; it knows neither Ray nor torch, and its clock can be
set, so that the tests simulate whole clusters. `scheduler.py` decides which shard goes where,
`quarantine.py` what happens after a loss, `node_health.py` which nodes are set aside, `breaker.py`
when the run pauses, and `hang_watch.py` which workers hang.
"""

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NoReturn

from pipeline.corpus.shard import Shard
from pipeline.errors import WorkerError, what_happened
from pipeline.fleet.breaker import Held, Probe, StorageBreaker
from pipeline.fleet.drain import Drain, drained
from pipeline.fleet.hang_watch import HangWatch
from pipeline.fleet.lease import MayGoOn, always
from pipeline.fleet.live_progress import LiveProgress, RunProgress
from pipeline.fleet.node_health import NodeHealth
from pipeline.fleet.pool import Accepted, Gone, Loaded, Progress, Report, Returned, WorkerPool
from pipeline.fleet.progress_asks import ProgressAsks
from pipeline.fleet.quarantine import Loss, QuarantinePolicy, Verdict
from pipeline.fleet.ray.options import RayOptions
from pipeline.fleet.scheduler import Scheduler
from pipeline.fleet.worker_count import FleetSize, NodeSize, check_fits, fleet_size
from pipeline.plural import plural
from pipeline.worker.fault import Fault, Owner
from pipeline.worker.settings import WorkerSettings
from pipeline.worker.writer import ShardOutcome
from xy_codec.contract import CodecIdentity

logger = logging.getLogger(__name__)
# How long the loop waits for a report, and how often it compares the pool with the cluster.
_REPORT_SECONDS = 1.0
_RESIZE_SECONDS = 5.0
# How often it says that it waits for a worker.
_SAY_SECONDS = 60.0
_LOSSES = {Owner.WORKER: Loss.BROKE, Owner.NODE: Loss.NODE_FAULT}
_ENDS = {
    Verdict.QUARANTINED: "quarantined: every worker that had it alone died, hung or broke",
    Verdict.GIVEN_UP: "given up: every worker that had it alone died, hung or broke, and no other "
    "shard shows whether the node works",
}

MakeBreaker = Callable[[WorkerSettings, Callable[[str], list[str]]], StorageBreaker[Shard]]


class Driver:
    """Runs shards on the workers of a pool."""

    def __init__(
        self,
        pool: WorkerPool,
        options: RayOptions,
        make_breaker: MakeBreaker,
        policy: QuarantinePolicy | None = None,
        clock: Callable[[], float] = time.monotonic,
        ask_seconds: float = 1.0,
    ) -> None:
        self._pool = pool
        self._options = options
        self._make_breaker = make_breaker
        self._policy = policy
        self._clock = clock
        self._health = NodeHealth()
        hang_seconds = options.hang_minutes * 60
        self._hangs = HangWatch(hang_seconds, clock)
        self._asks = ProgressAsks(min(ask_seconds, hang_seconds / 10), clock)
        self._recorded: Mapping[str, Any] | None = None
        self._identity: CodecIdentity | None = None
        self._resized = float("-inf")
        self._said = self._alone_since = clock()
        self._last_size: FleetSize | None = None
        self._broken_nodes: set[str] = set()
        self._scheduler: Scheduler[Shard] | None = None
        self._ask_seconds = ask_seconds
        self._live = LiveProgress((), clock)
        # Workers that may take a shard now, in an order that a rerun of a simulation repeats.
        self._hungry: dict[str, None] = {}
        self._last_read = ""
        self.avoided_nodes: dict[str, str] = {}
        self.verdicts: list[tuple[str, Verdict]] = []

    def identity(self, recorded: Mapping[str, Any] | None = None) -> CodecIdentity:
        """The identity of the codec as a worker loaded it; the driver may have no GPU.

        `recorded` is that of the output's earlier runs: workers on other platforms are not used,
        where others may come.
        """
        self._recorded = recorded if self._pool.may_get_nodes else None
        self._alone_since = self._said = self._clock()
        while self._identity is None:
            if not self._pool.num_members:
                size = self._size()
                nodes = self._nodes()
                if nodes and self._options.workers is None:
                    check_fits(size, nodes)
                self._grow(size, 1)
            self._take_start(self._pool.next_report(_REPORT_SECONDS))
            self._say_waiting()
        return self._identity

    def run(
        self,
        settings: WorkerSettings,
        shards: Sequence[Shard],
        drain: Drain,
        may_go_on: MayGoOn = always,
        finished: Sequence[str] = (),
    ) -> Iterator[ShardOutcome | RunProgress]:
        """Yield one outcome per shard, as they finish, and about every second how far the run is.

        No shard is handed out while `may_go_on()` is false; it raises when another run took over.
        `finished` are URLs of shards that earlier runs read, to be probed when a shard fails.
        """
        self.identity()
        self._live = LiveProgress(shards, self._clock, self._ask_seconds)
        for outcome in self._run(settings, shards, drain, may_go_on, finished):
            if isinstance(outcome, ShardOutcome):
                self._live.take(outcome)
            yield outcome

    def _run(
        self,
        settings: WorkerSettings,
        shards: Sequence[Shard],
        drain: Drain,
        may_go_on: MayGoOn,
        references_before: Sequence[str],
    ) -> Iterator[ShardOutcome | RunProgress]:
        scheduler = self._scheduler = Scheduler(shards, self._policy)
        for worker, start in self._pool.starts.items():
            scheduler.add_worker(worker, start.place)
        self._hungry = dict.fromkeys(self._pool.starts)
        self._last_read, self._resized = "", float("-inf")
        self._alone_since = self._said = self._clock()
        spread = [shards[len(shards) * part // 4].url for part in range(4)] if shards else []

        def references(url: str) -> list[str]:
            known = dict.fromkeys([self._last_read, *references_before, *spread])
            return [each for each in known if each not in ("", url)]

        breaker = self._make_breaker(settings, references)
        while scheduler.num_left:
            is_sure = may_go_on()
            if drain.is_asked:
                if drain.is_over(scheduler.num_in_hand):
                    raise drained(scheduler.num_done, scheduler.num_left)
            else:
                self._resize(scheduler)
                if is_sure and not breaker.is_open:
                    self._hand_out(settings, scheduler)
            yield from self._resolve(breaker, scheduler)
            yield from self._end_drained(scheduler)
            self._ask_progress(scheduler)
            yield from self._end_hung(scheduler)
            report = self._pool.next_report(_REPORT_SECONDS)
            if report is not None:
                yield from self._take(report, breaker, scheduler)
            self._say_waiting()
            if self._live.is_due:
                yield self._progress(breaker, scheduler)
        yield self._progress(breaker, scheduler)

    def _progress(self, breaker: StorageBreaker[Shard], scheduler: Scheduler[Shard]) -> RunProgress:
        return self._live.read(
            self._pool.starts,
            {worker: scheduler.in_hand(worker) for worker in self._busy(scheduler)},
            nodes_aside=len(self.avoided_nodes),
            outage_seconds=breaker.outage_seconds,
        )

    def _take(
        self, report: Report, breaker: StorageBreaker[Shard], scheduler: Scheduler[Shard]
    ) -> Iterator[ShardOutcome]:
        match report:
            case Loaded():
                if self._take_start(report):
                    scheduler.add_worker(report.worker, self._pool.starts[report.worker].place)
                    self._hungry[report.worker] = None
            case Accepted():
                scheduler.accept(report.worker, report.shard.path)
            case Progress():
                self._asks.note_answer(report.worker)
                if report.progress is not None:
                    self._hangs.note(report.worker, report.progress.steps)
                    self._live.note(report.worker, report.progress)
            case Gone():
                yield from self._lose(report.worker, report.loss, report.why, scheduler)
            case Returned(outcome=None):
                scheduler.give_back(report.worker, report.shard.path)
                # Another worker may be idle and take the shard now.
                self._hungry |= dict.fromkeys(self._pool.starts)
            case Returned(outcome=ShardOutcome() as outcome):
                self._hungry[report.worker] = None
                self._live.note_return(report.worker, outcome)
                yield from self._take_outcome(report.worker, outcome, breaker, scheduler)

    def _take_outcome(
        self,
        worker: str,
        outcome: ShardOutcome,
        breaker: StorageBreaker[Shard],
        scheduler: Scheduler[Shard],
    ) -> Iterator[ShardOutcome]:
        node = self._pool.starts[worker].node_id
        fault, shard = outcome.fault, outcome.shard
        if fault is None:
            scheduler.finish(worker, shard.path)
            self._health.note_success(node)
            self._last_read = shard.url
            if scheduler.has_suspects:
                self._hungry |= dict.fromkeys(self._pool.starts)
            yield outcome
        elif fault.owner is Owner.RUN:
            raise fault.error or WorkerError(fault.message)
        elif fault.owner is Owner.SHARD:
            scheduler.fail(worker, shard.path)
            yield outcome
        elif fault.owner is Owner.STORAGE:
            scheduler.hold(worker, shard.path)
            breaker.hold(Held(worker, node, shard, fault))
        else:
            if fault.owner is Owner.NODE:
                self._avoid(node, fault.message)
            yield from self._lose(worker, _LOSSES[fault.owner], fault.message, scheduler)

    def _resolve(
        self, breaker: StorageBreaker[Shard], scheduler: Scheduler[Shard]
    ) -> Iterator[ShardOutcome]:
        for held, seen in breaker.resolve():
            self._hungry |= dict.fromkeys(self._pool.starts)
            shard, fault = held.shard, held.fault
            # An answer that others get as well is no trouble that passes: it is the shard's.
            is_final = seen is Probe.ONLY_OTHERS and fault.is_answer
            counts_at = {Probe.OUTAGE: None, Probe.ANSWERS: held.node, Probe.ONLY_OTHERS: ""}[seen]
            verdict = scheduler.release(shard.path, counts_at=counts_at, is_final=is_final)
            if seen is Probe.ANSWERS and self._note_loss(held.node, shard.path):
                self._avoid(held.node, fault.what)
            if verdict is Verdict.FAILED:
                yield ShardOutcome(shard, None, 0.0, fault, held.worker)
            else:
                logger.warning("%s is tried again later: %s", shard.path, fault.what)

    def _end_drained(self, scheduler: Scheduler[Shard]) -> Iterator[ShardOutcome]:
        for worker in scheduler.drained:
            logger.info("%s was asked to end and finished what it had", worker)
            yield from self._lose(worker, Loss.DRAINED, "", scheduler)

    def _busy(self, scheduler: Scheduler[Shard]) -> list[str]:
        return [worker for worker in self._pool.starts if scheduler.in_hand(worker)]

    def _ask_progress(self, scheduler: Scheduler[Shard]) -> None:
        if self._asks.is_due:
            for worker in self._asks.take(self._busy(scheduler)):
                self._pool.ask_progress(worker)

    def _end_hung(self, scheduler: Scheduler[Shard]) -> Iterator[ShardOutcome]:
        if not self._hangs.is_due:
            return
        for worker in self._hangs.look(self._busy(scheduler)):
            why = f"no progress for {self._options.hang_minutes:g} minutes"
            yield from self._lose(worker, Loss.DIED, why, scheduler)

    def _nodes(self) -> list[NodeSize]:
        return [
            node
            for node in self._pool.live_nodes()
            if node.node_id not in self.avoided_nodes and not node.is_draining
        ]

    def _size(self) -> FleetSize:
        nodes, last = self._nodes(), self._last_size
        size = fleet_size(nodes, self._options)
        # When only a head without GPUs is left, the next worker still waits for a GPU.
        if last is not None and (not nodes or size.gpus_per_worker < last.gpus_per_worker):
            return replace(last, num_workers=1)
        self._last_size = size
        return size

    def _grow(self, size: FleetSize, count: int) -> None:
        self._pool.grow(size, count, self.avoided_nodes)

    def _resize(self, scheduler: Scheduler[Shard]) -> None:
        if self._clock() - self._resized < _RESIZE_SECONDS:
            return
        self._resized = self._clock()
        nodes = {node.node_id: node for node in self._pool.live_nodes()}
        for node in nodes.values():
            if node.is_draining:
                self._drain_node(node.node_id)
        for worker, start in list(self._pool.starts.items()):
            # An idle worker has no open call that would tell that its node is lost.
            if start.node_id not in nodes and not scheduler.in_hand(worker):
                self._pool.retire(worker)
                scheduler.lose(worker, Loss.NODE_LOST)
        size = self._size()
        target = max(1, min(size.num_workers, scheduler.num_left))
        missing = target - self._pool.num_members
        if missing > 0:
            logger.info("Starting %s, %d in all", plural(missing, "more worker"), target)
            self._grow(size, missing)
        if missing < 0:
            self._pool.retire_pending(-missing)

    def _hand_out(self, settings: WorkerSettings, scheduler: Scheduler[Shard]) -> None:
        # Only workers for which something changed are looked at: with a thousand workers a look at
        # all of them would dominate. Each gets one shard a round, so that none gets two while
        # another has none.
        hungry, self._hungry = [w for w in self._hungry if w in self._pool.starts], {}
        while hungry:
            served = []
            for worker in hungry:
                assignment = scheduler.take(worker)
                if assignment:
                    shard = replace(assignment.shard, isolate_decoding=assignment.isolated)
                    self._pool.submit(worker, settings, shard)
                    served.append(worker)
            hungry = served

    def _take_start(self, report: Report | None) -> bool:
        if not isinstance(report, Loaded):
            return False
        if report.start is None:
            assert report.fault is not None
            self._count_failed_start(report, report.fault)
            return False
        if report.node_id in self.avoided_nodes:
            self._pool.retire(report.worker)
            return False
        identity = report.start.identity
        if self._identity is None:
            platform = self._recorded["platform"] if self._recorded else identity.platform
            if identity.platform == platform:
                self._identity = identity
        if identity != self._identity:
            wanted = self._identity.platform if self._identity else platform
            self._pool.retire(report.worker)
            if identity.platform != wanted:
                why = f"its platform is `{identity.platform}`, that of the output `{wanted}`"
                self._avoid(report.node_id, why, is_broken=False)
            else:
                why = "its codec is another one (files, options or versions of libraries) than that"
                self._avoid(report.node_id, f"{why} of the other nodes")
            return False
        self._health.note_start(report.node_id)
        return True

    def _count_failed_start(self, report: Loaded, fault: Fault) -> None:
        self._pool.retire(report.worker)
        # Where another worker loaded the codec, what hinders this one is not the codec.
        if fault.owner is Owner.RUN and self._identity is None:
            raise fault.error or WorkerError(fault.message)
        logger.warning("%s did not start: %s", report.worker, fault.message)
        is_bad = self._health.note_failed_start(report.node_id) or fault.owner is Owner.NODE
        if not is_bad:
            return
        why = f"workers do not start there: {fault.message}"
        if report.node_id:
            self._avoid(report.node_id, why)
        elif not self._pool.may_get_nodes and not self._pool.starts:
            self._end_alone(why)

    def _avoid(self, node: str, why: str, *, is_broken: bool = True) -> None:
        """Start no more workers on a node; those that run there finish what they have."""
        if node not in self.avoided_nodes:
            self.avoided_nodes[node] = why
            logger.warning("Node %s gets no more shards: %s", node, why)
        self._drain_node(node)
        if is_broken:
            self._broken_nodes.add(node)
        if not self._nodes() and not self._pool.may_get_nodes:
            self._end_alone(why)

    def _drain_node(self, node: str) -> None:
        for worker, start in self._pool.starts.items():
            if self._scheduler is not None and start.node_id == node:
                self._scheduler.drain(worker)

    def _end_alone(self, why: str) -> NoReturn:
        raise WorkerError(
            f"No node is left on which workers can do their work (last: {what_happened(why)}); "
            "expected one at least; the same command resumes; try `--engine inline --max-shards 1` "
            "to see why"
        )

    def _note_loss(self, node: str, shard: str) -> bool:
        workers = sum(start.node_id == node for start in self._pool.starts.values())
        is_last = [each.node_id for each in self._nodes()] == [node]
        return self._health.note_loss(node, shard, workers, is_last=is_last)

    def _lose(
        self, worker: str, loss: Loss, why: str, scheduler: Scheduler[Shard]
    ) -> Iterator[ShardOutcome]:
        start = self._pool.starts.get(worker)
        self._pool.retire(worker)
        self._resized = float("-inf")
        self._hungry |= dict.fromkeys(self._pool.starts)
        if start is None:
            return
        held = scheduler.lose(worker, loss)
        for lost in held:
            shard, verdict = lost.shard, lost.verdict
            logger.warning(
                "%s is gone (%s): %s %s%s",
                *(worker, loss.value, shard.path, verdict.value),
                f"; {why}" if why else "",
            )
            if verdict is not Verdict.AGAIN:
                self.verdicts.append((shard.path, verdict))
            if verdict in _ENDS:
                fault = Fault(Owner.SHARD, f"{_ENDS[verdict]}; {why}")
                yield ShardOutcome(shard, None, 0.0, fault, worker)
        # One loss is one fault of the node, however many shards the worker had read ahead.
        is_fault = loss in (Loss.DIED, Loss.BROKE, Loss.OUT_OF_MEMORY)
        news = [lost.shard.path for lost in held if not lost.was_suspect]
        if is_fault and news and self._note_loss(start.node_id, news[0]):
            self._avoid(start.node_id, f"no worker finished a shard there any more; {why}")

    def _say_waiting(self) -> None:
        now = self._clock()
        if self._pool.starts:
            self._alone_since = now
            return
        aside = [f"{node[:8]}: {why}" for node, why in self.avoided_nodes.items()]
        # A node of the right platform may take long to come, a sound one after broken ones hardly.
        if self._broken_nodes and now - self._alone_since > self._options.load_minutes * 60:
            self._end_alone(aside[-1])
        if now - self._said < _SAY_SECONDS:
            return
        self._said = now
        logger.warning(
            "Waiting for a worker that has loaded the codec; %d are starting or wait for a node%s",
            self._pool.num_members,
            "; set aside: " + "; ".join(aside[:5]) if aside else "",
        )
