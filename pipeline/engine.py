"""What an engine offers: it knows the codec's identity and turns shards into outcomes."""

from collections.abc import Iterator, Sequence
from typing import Protocol

from pipeline.settings import WorkerSettings
from pipeline.shard import Shard
from pipeline.shard_outcome import ShardOutcome
from pipeline.storage import Storage
from xy_codec.contract import CodecIdentity


class Engine(Protocol):
    """Runs workers, in this process or on a cluster."""

    def identity(self) -> CodecIdentity:
        """The identity of the codec that will do the work."""
        ...

    def flip_rate(self, shard: Shard, storage: Storage) -> tuple[float, ...] | None:
        """How many codes per codebook the precision flips against `exact`, on this shard."""
        ...

    def run(self, settings: WorkerSettings, shards: Sequence[Shard]) -> Iterator[ShardOutcome]:
        """Yield one outcome per shard, as they finish."""
        ...

    def close(self) -> None:
        """Let go of processes and connections."""
        ...
