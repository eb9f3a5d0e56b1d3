"""The Ray engine: connects to a cluster and lets a `Driver` run shards on a pool of its actors."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from pipeline.corpus.rules import ReadRules
from pipeline.corpus.shard import Shard
from pipeline.fleet.drain import Drain
from pipeline.fleet.driver import Driver
from pipeline.fleet.engine import Engine, InlineEngine, breaker_for
from pipeline.fleet.lease import MayGoOn, always
from pipeline.fleet.live_progress import RunProgress
from pipeline.fleet.metrics import RunMetrics
from pipeline.fleet.pool import WorkerStart
from pipeline.fleet.quarantine import QuarantinePolicy, Verdict
from pipeline.fleet.ray import cluster as ray_cluster
from pipeline.fleet.ray.options import RayOptions
from pipeline.fleet.ray.pool import RayPool
from pipeline.fleet.worker_count import fleet_size
from pipeline.storage.client import Storage
from pipeline.worker.codec_request import CodecRequest
from pipeline.worker.decode_threads import default_decode_threads
from pipeline.worker.settings import WorkerSettings
from pipeline.worker.writer import ShardOutcome
from xy_codec.contract import CodecIdentity

logger = logging.getLogger(__name__)


def open_engine(name: str, codec: CodecRequest, options: RayOptions) -> Engine:
    """The engine `ray` or `inline`, which takes of the options how it drains and pauses."""
    if name == "ray":
        return RayEngine(codec, options)
    return InlineEngine(codec, options.drain_seconds, options.outage_minutes)


class RayEngine:
    """Runs shards on a Ray cluster; without an address it starts Ray on this machine."""

    def __init__(
        self, request: CodecRequest, options: RayOptions, policy: QuarantinePolicy | None = None
    ) -> None:
        self._request, self._options = request, options
        self._pool = RayPool(request, options.load_minutes)
        self._driver = Driver(self._pool, options, breaker_for(options.outage_minutes), policy)
        self._drain = Drain(options.drain_seconds)
        self._is_connected = False

    def check_codec(self) -> None:
        """Refuse a codec that cannot be meant; paths of a cluster only its machines can judge."""
        self._request.check(may_be_elsewhere=ray_cluster.is_named(self._options.cluster))

    def stage_codec(self, output: str, storage: Storage) -> None:
        """Copy a codec from the hub into the output, where other machines are to load it."""
        if ray_cluster.is_named(self._options.cluster):
            self._pool.stage_codec(output, storage)

    def identity(self, recorded: Mapping[str, Any] | None = None) -> CodecIdentity:
        """The identity of the codec as a worker loaded it; the driver may have no GPU."""
        self._is_connected |= ray_cluster.connect(self._options.cluster)
        self._pool.may_get_nodes = ray_cluster.is_named(self._options.cluster)
        if not self._pool.starts:
            logger.info("Waiting for a first worker to start and to load the codec")
        return self._driver.identity(recorded)

    def flip_rate(
        self, shard: Shard, storage: Storage, rules: ReadRules
    ) -> tuple[float, ...] | None:
        """The share of codes per codebook that differ from those of `exact`, on this shard."""
        self.identity()
        return self._pool.flip_rate(shard, storage, rules)

    def run(
        self,
        settings: WorkerSettings,
        shards: Sequence[Shard],
        may_go_on: MayGoOn = always,
        finished: Sequence[str] = (),
    ) -> Iterator[ShardOutcome | RunProgress]:
        """Yield outcomes and progress, as the driver does."""
        self.identity()
        metrics = RunMetrics(settings.identity.identity8)
        with self._drain.on_sigterm():
            for told in self._driver.run(
                self._tuned(settings), shards, self._drain, may_go_on, finished
            ):
                if isinstance(told, RunProgress):
                    metrics.show(told)
                yield told

    @property
    def worker_starts(self) -> list[WorkerStart]:
        """The workers that are ready now, with the seconds their start took."""
        return list(self._pool.starts.values())

    @property
    def avoided_nodes(self) -> set[str]:
        """The ids of the nodes that were set aside."""
        return set(self._driver.avoided_nodes)

    @property
    def verdicts(self) -> list[tuple[str, Verdict]]:
        """What was decided about shards that lost their workers, in order."""
        return self._driver.verdicts

    def stop_workers(self) -> None:
        """End every worker, but stay connected to the cluster."""
        self._pool.retire_all()

    def close(self) -> None:
        """End every worker, and Ray if it was started here."""
        self.stop_workers()
        if self._is_connected:
            ray_cluster.disconnect()
            self._is_connected = False

    def _tuned(self, settings: WorkerSettings) -> WorkerSettings:
        if settings.tuning.decode_threads:
            return settings
        # Several workers share a node, so a worker must not start a thread for every core of it.
        cpus = fleet_size(self._pool.live_nodes(), self._options).cpus_per_worker
        tuning = replace(settings.tuning, decode_threads=default_decode_threads(int(cpus)))
        return replace(settings, tuning=tuning)
