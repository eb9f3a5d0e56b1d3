"""The pool of the inline engine: one worker in this process."""

import queue
import socket
import threading
import time
from collections.abc import Collection, Sequence

from pipeline.corpus.shard import Shard
from pipeline.fleet.lease import MayGoOn, always
from pipeline.fleet.pool import Accepted, Loaded, Progress, Report, Returned, WorkerStart
from pipeline.fleet.worker_count import FleetSize, NodeSize
from pipeline.fleet.worker_host import WorkerHost
from pipeline.worker.codec_request import CodecRequest
from pipeline.worker.fault import Owner
from pipeline.worker.settings import WorkerSettings
from xy_codec.contract import Codec

_ASK_SECONDS = 0.2
_NODE = socket.gethostname()


class InlinePool:
    """Loads the codec in the calling thread and works on threads; no process can be lost."""

    def __init__(self, request: CodecRequest) -> None:
        self._request = request
        self._hosts: dict[str, WorkerHost] = {}
        self._num_started = 0
        self._reports: queue.SimpleQueue[Report] = queue.SimpleQueue()
        self.starts: dict[str, WorkerStart] = {}
        self.may_get_nodes = False
        # Whether this run still holds its output, which is asked before every manifest.
        self.may_commit: MayGoOn = always
        self.codec: Codec | None = None

    @property
    def num_members(self) -> int:
        """Whether the worker is there, as a number."""
        return len(self._hosts)

    def live_nodes(self) -> Sequence[NodeSize]:
        """This machine."""
        return [NodeSize(_NODE, cpus=1, gpus=0)]

    def grow(self, _size: FleetSize, _count: int, _avoided: Collection[str], /) -> None:
        """Load the codec, unless it is loaded; an error is the caller's to see."""
        started = time.perf_counter()
        self.codec = self.codec or self._request.load()
        worker = f"worker-{self._num_started}"
        self._num_started += 1
        self._hosts[worker] = WorkerHost(self._wait_until_sure)
        self._hosts[worker].open(self.codec, "")
        seconds = time.perf_counter() - started
        start = WorkerStart(self.codec.identity, _NODE, _NODE, 0, 0.0, seconds)
        self._reports.put(Loaded(worker, _NODE, start))

    def _wait_until_sure(self) -> None:
        while not self.may_commit() and self._hosts:
            time.sleep(_ASK_SECONDS)

    def submit(self, worker: str, settings: WorkerSettings, shard: Shard) -> None:
        """Give the worker a shard."""
        host = self._hosts[worker]

        def wait() -> None:
            self._reports.put(Returned(worker, shard, host.outcome(shard)))

        if host.accept(settings, shard):
            self._reports.put(Accepted(worker, shard))
        threading.Thread(target=wait, daemon=True, name="xytok-outcome").start()

    def ask_progress(self, worker: str) -> None:
        """Report how far the worker is."""
        self._reports.put(Progress(worker, self._hosts[worker].progress()))

    def next_report(self, timeout_seconds: float) -> Report | None:
        """The next report; an error that no rule of ours knows is raised as it is."""
        try:
            report = self._reports.get(timeout=timeout_seconds)
        except queue.Empty:
            return None
        if report.worker not in self._hosts:
            return None
        if isinstance(report, Loaded) and report.start is not None:
            self.starts[report.worker] = report.start
        if isinstance(report, Returned) and report.outcome and report.outcome.fault:
            fault = report.outcome.fault
            if fault.owner in (Owner.WORKER, Owner.NODE) and fault.error is not None:
                raise fault.error
        return report

    def retire(self, worker: str) -> None:
        """End the worker's threads, after the shards it has."""
        self.starts.pop(worker, None)
        self._hosts.pop(worker).close()

    def retire_pending(self, _count: int, /) -> None:
        """Do nothing: the worker is ready as soon as it is there."""
