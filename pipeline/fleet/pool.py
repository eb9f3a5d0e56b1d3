"""What the driver needs of its workers: a pool that starts, feeds and ends them, and reports.

`inline_pool.py` has one worker in this process, `ray/pool.py` actors on a cluster. Names of workers
are never used twice.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from pipeline.corpus.shard import Shard
from pipeline.fleet.quarantine import Loss
from pipeline.fleet.worker_count import FleetSize, NodeSize
from pipeline.worker.fault import Fault
from pipeline.worker.progress import WorkerProgress
from pipeline.worker.settings import WorkerSettings
from pipeline.worker.writer import ShardOutcome
from xy_codec.contract import CodecIdentity


@dataclass(frozen=True, slots=True)
class WorkerStart:
    """A worker that loaded its codec: the codec's identity, its place, the seconds it took.

    `place` is the node and the accelerator: what two workers share that fail for the same reason.
    """

    identity: CodecIdentity
    node_id: str
    place: str
    pid: int
    import_seconds: float
    load_seconds: float


@dataclass(frozen=True, slots=True)
class Loaded:
    """A worker loaded its codec, or did not because of a fault."""

    worker: str
    node_id: str
    start: WorkerStart | None
    fault: Fault | None = None


@dataclass(frozen=True, slots=True)
class Accepted:
    """A worker has a shard in its process now; from here on the shard can be what ends it."""

    worker: str
    shard: Shard


@dataclass(frozen=True, slots=True)
class Returned:
    """A worker is through with a shard; no outcome says that it drains and did not begin it."""

    worker: str
    shard: Shard
    outcome: ShardOutcome | None


@dataclass(frozen=True, slots=True)
class Gone:
    """The process of a worker is gone."""

    worker: str
    loss: Loss
    why: str


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a worker is; None when it could not say."""

    worker: str
    progress: WorkerProgress | None


Report = Loaded | Accepted | Returned | Gone | Progress


class WorkerPool(Protocol):
    """Starts, feeds and ends workers; what they do comes back as reports."""

    @property
    def starts(self) -> Mapping[str, WorkerStart]:
        """The workers that are ready."""
        ...

    @property
    def num_members(self) -> int:
        """Workers that run or are being started."""
        ...

    @property
    def may_get_nodes(self) -> bool:
        """Whether other nodes may come, so that waiting for one makes sense."""
        ...

    def live_nodes(self) -> Sequence[NodeSize]:
        """The nodes that are alive now."""
        ...

    def grow(self, size: FleetSize, count: int, avoided: Collection[str], /) -> None:
        """Start `count` more workers, on none of the avoided nodes; each reports `Loaded`."""
        ...

    def submit(self, worker: str, settings: WorkerSettings, shard: Shard) -> None:
        """Give a worker one shard; it reports `Accepted` and then `Returned`."""
        ...

    def ask_progress(self, worker: str) -> None:
        """Ask a worker how far it is; it reports `Progress`."""
        ...

    def next_report(self, timeout_seconds: float) -> Report | None:
        """The next report; None after the timeout, or when its worker was retired meanwhile."""
        ...

    def retire(self, worker: str) -> None:
        """End the process of a worker; results of its open calls are ignored."""
        ...

    def retire_pending(self, count: int, /) -> None:
        """End up to `count` workers that still load their codec, the latest first."""
        ...
