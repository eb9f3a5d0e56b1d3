"""The engine of a run: it loads the codec in workers and turns shards into outcomes.

`run.py` uses one through the protocol `Engine`. `InlineEngine` works in this process, `RayEngine`
(`ray/engine.py`) on a cluster.
"""

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Protocol

from pipeline.corpus.shard import Shard
from pipeline.storage.client import Storage
from pipeline.worker.codec_request import CodecRequest
from pipeline.worker.flip_rate import measure_flip_rate
from pipeline.worker.settings import WorkerSettings
from pipeline.worker.worker import ShardWorker
from pipeline.worker.writer import ShardOutcome
from xy_codec.contract import Codec, CodecIdentity


class Engine(Protocol):
    """Runs workers, in this process or on a cluster."""

    def identity(self) -> CodecIdentity:
        """The identity of the codec that will do the work."""
        ...

    def flip_rate(self, shard: Shard, storage: Storage) -> tuple[float, ...] | None:
        """The share of codes per codebook that differ from those of `exact`, on this shard."""
        ...

    def run(self, settings: WorkerSettings, shards: Sequence[Shard]) -> Iterator[ShardOutcome]:
        """Yield one outcome per shard, as they finish."""
        ...

    def close(self) -> None:
        """End the processes and connections of this engine."""
        ...


class InlineEngine:
    """Runs all shards in one `ShardWorker` in this process, largest first."""

    def __init__(self, request: CodecRequest) -> None:
        self._request = request

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

    def run(self, settings: WorkerSettings, shards: Sequence[Shard]) -> Iterator[ShardOutcome]:
        """Yield one outcome per shard, as they finish."""
        ordered = sorted(shards, key=lambda shard: (-shard.size_bytes, shard.path))
        return ShardWorker(settings, self.codec).run(iter(ordered))

    def close(self) -> None:
        """Do nothing: there is no process or connection to end."""
