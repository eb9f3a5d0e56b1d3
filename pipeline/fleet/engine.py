"""The engine of a run: it loads the codec in workers and turns shards into outcomes.

`run.py` uses one through the protocol `Engine`. `InlineEngine` works in this process, `RayEngine`
(`ray/engine.py`) on a cluster.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import Protocol

from pipeline.corpus.shard import Shard
from pipeline.fleet.drain import DRAIN_SECONDS, Drain, drained
from pipeline.storage.client import Storage
from pipeline.worker.codec_request import CodecRequest
from pipeline.worker.flip_rate import measure_flip_rate
from pipeline.worker.settings import WorkerSettings
from pipeline.worker.worker import ShardWorker
from pipeline.worker.writer import ShardOutcome
from xy_codec.contract import Codec, CodecIdentity

_ASK_SECONDS = 0.2


class Engine(Protocol):
    """Runs workers, in this process or on a cluster."""

    def identity(self) -> CodecIdentity:
        """The identity of the codec that will do the work."""
        ...

    def flip_rate(self, shard: Shard, storage: Storage) -> tuple[float, ...] | None:
        """The share of codes per codebook that differ from those of `exact`, on this shard."""
        ...

    def run(
        self,
        settings: WorkerSettings,
        shards: Sequence[Shard],
        may_go_on: Callable[[], bool] = lambda: True,
    ) -> Iterator[ShardOutcome]:
        """Yield one outcome per shard, as they finish.

        No shard is handed out while `may_go_on()` is false. It raises when another run took over.
        """
        ...

    def close(self) -> None:
        """End the processes and connections of this engine."""
        ...


class InlineEngine:
    """Runs all shards in one `ShardWorker` in this process, largest first."""

    def __init__(self, request: CodecRequest, drain_seconds: float = DRAIN_SECONDS) -> None:
        self._request = request
        self._drain = Drain(drain_seconds)

    @cached_property
    def codec(self) -> Codec:
        """The codec, loaded at the first use."""
        return self._request.load()

    def identity(self) -> CodecIdentity:
        """The identity of the codec that will do the work."""
        return self.codec.identity

    def flip_rate(self, shard: Shard, storage: Storage) -> tuple[float, ...] | None:
        """The share of codes per codebook that differ from those of `exact`, on this shard."""
        return measure_flip_rate(self.codec, self._request, shard, storage)

    def run(
        self,
        settings: WorkerSettings,
        shards: Sequence[Shard],
        may_go_on: Callable[[], bool] = lambda: True,
    ) -> Iterator[ShardOutcome]:
        """Yield one outcome per shard, as they finish; SIGTERM drains, as with Ray."""
        ordered = sorted(shards, key=lambda shard: (-shard.size_bytes, shard.path))
        num_taken = num_ended = num_done = 0

        def wait_until_sure() -> None:
            while not may_go_on():
                time.sleep(_ASK_SECONDS)

        def take() -> Iterator[Shard]:
            nonlocal num_taken
            for shard in ordered:
                wait_until_sure()
                if self._drain.is_asked:
                    return
                num_taken += 1
                yield shard

        def is_over() -> bool:
            return self._drain.is_asked and self._drain.is_over(num_taken - num_ended)

        with self._drain.on_sigterm():
            worker = ShardWorker(settings, self.codec)
            for outcome in worker.run(take(), is_over, before_commit=wait_until_sure):
                num_ended += 1
                num_done += outcome.is_done
                yield outcome
        if self._drain.is_asked and num_ended < len(ordered):
            raise drained(num_done, len(ordered) - num_ended)

    def close(self) -> None:
        """Do nothing: there is no process or connection to end."""
