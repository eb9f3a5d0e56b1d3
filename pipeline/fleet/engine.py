"""The engine of a run: it loads the codec in workers and turns shards into outcomes.

`run.py` uses one through the protocol `Engine`. `InlineEngine` works in this process, `RayEngine`
(`ray/engine.py`) on a cluster; both give a pool of workers to a `Driver`.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from pipeline.corpus.rules import ReadRules
from pipeline.corpus.shard import Shard
from pipeline.fleet.breaker import StorageBreaker
from pipeline.fleet.drain import DRAIN_SECONDS, Drain
from pipeline.fleet.driver import Driver, MakeBreaker
from pipeline.fleet.inline_pool import InlinePool
from pipeline.fleet.lease import MayGoOn, always
from pipeline.fleet.live_progress import RunProgress
from pipeline.fleet.probe import StorageProber
from pipeline.fleet.ray.options import RayOptions
from pipeline.storage.client import Storage
from pipeline.worker.codec_request import CodecRequest
from pipeline.worker.flip_rate import measure_flip_rate
from pipeline.worker.settings import WorkerSettings
from pipeline.worker.writer import ShardOutcome
from xy_codec.contract import Codec, CodecIdentity


class Engine(Protocol):
    """Runs workers, in this process or on a cluster."""

    def check_codec(self) -> None:
        """Refuse a codec that cannot be meant; the first thing of a run, before it lists shards."""
        ...

    def stage_codec(self, output: str, storage: Storage) -> None:
        """Put what all workers load where all reach it; comes before `identity`."""
        ...

    def identity(self, recorded: Mapping[str, Any] | None = None) -> CodecIdentity:
        """The identity of the codec that will do the work; `recorded` is that of the output."""
        ...

    def flip_rate(
        self, shard: Shard, storage: Storage, rules: ReadRules
    ) -> tuple[float, ...] | None:
        """The share of codes per codebook that differ from those of `exact`, on this shard."""
        ...

    def run(
        self,
        settings: WorkerSettings,
        shards: Sequence[Shard],
        may_go_on: MayGoOn = always,
        finished: Sequence[str] = (),
    ) -> Iterator[ShardOutcome | RunProgress]:
        """Yield one outcome per shard, as they finish, and about every second how far the run is.

        No shard is handed out while `may_go_on()` is false. It raises when another run took over.
        `finished` are URLs of shards that earlier runs read.
        """
        ...

    def close(self) -> None:
        """End the processes and connections of this engine."""
        ...


class InlineEngine:
    """Runs all shards in one worker in this process, largest first."""

    def __init__(
        self,
        request: CodecRequest,
        drain_seconds: float = DRAIN_SECONDS,
        outage_minutes: float = 60.0,
    ) -> None:
        self._request = request
        self._drain = Drain(drain_seconds)
        self._pool = InlinePool(request)
        # A thread that hangs cannot be ended, so hanging is not looked for.
        options = RayOptions(workers=1, hang_minutes=math.inf)
        self._driver = Driver(self._pool, options, breaker_for(outage_minutes))

    @property
    def codec(self) -> Codec:
        """The codec, loaded at the first use."""
        self.identity()
        assert self._pool.codec is not None, "the driver waits until it is loaded"
        return self._pool.codec

    def check_codec(self) -> None:
        """Refuse a codec that cannot be meant, as far as its names tell."""
        self._request.check()

    def stage_codec(self, output: str, storage: Storage) -> None:
        """Nothing: the one worker is in this process."""

    def identity(self, recorded: Mapping[str, Any] | None = None) -> CodecIdentity:
        """The identity of the codec that will do the work."""
        return self._driver.identity(recorded)

    def flip_rate(
        self, shard: Shard, storage: Storage, rules: ReadRules
    ) -> tuple[float, ...] | None:
        """The share of codes per codebook that differ from those of `exact`, on this shard."""
        return measure_flip_rate(self.codec, self._request, shard, storage, rules)

    def run(
        self,
        settings: WorkerSettings,
        shards: Sequence[Shard],
        may_go_on: MayGoOn = always,
        finished: Sequence[str] = (),
    ) -> Iterator[ShardOutcome | RunProgress]:
        """Yield outcomes and progress, as the driver does; SIGTERM drains, as with Ray."""
        self._pool.may_commit = may_go_on
        try:
            with self._drain.on_sigterm():
                yield from self._driver.run(settings, shards, self._drain, may_go_on, finished)
        finally:
            self.close()

    def close(self) -> None:
        """End the threads of the worker."""
        for worker in list(self._pool.starts):
            self._pool.retire(worker)


def breaker_for(outage_minutes: float) -> MakeBreaker:
    """What makes the breaker of a run: it probes the storage of the run from this process."""

    def make(
        settings: WorkerSettings, references: Callable[[str], list[str]]
    ) -> StorageBreaker[Shard]:
        prober = StorageProber(settings.storage, settings.output, references)
        return StorageBreaker(prober, outage_minutes * 60)

    return make
