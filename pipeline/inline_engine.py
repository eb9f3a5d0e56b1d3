"""One worker in this process, without Ray: for laptops, debugging, tests and benchmarks."""

from collections.abc import Iterator, Sequence
from functools import cached_property

from pipeline.codec_request import CodecRequest
from pipeline.flip_rate import measure_flip_rate
from pipeline.settings import WorkerSettings
from pipeline.shard import Shard
from pipeline.shard_outcome import ShardOutcome
from pipeline.shard_worker import ShardWorker
from pipeline.storage import Storage
from xy_codec.contract import Codec, CodecIdentity


class InlineEngine:
    """Runs all shards in one `ShardWorker`, largest first."""

    def __init__(self, request: CodecRequest) -> None:
        self._request = request

    @cached_property
    def codec(self) -> Codec:
        """The codec, loaded when it is first needed."""
        return self._request.load()

    def identity(self) -> CodecIdentity:
        """The identity of the codec that will do the work."""
        return self.codec.identity

    def flip_rate(self, shard: Shard, storage: Storage) -> tuple[float, ...] | None:
        """How many codes per codebook the precision flips against `exact`, on this shard."""
        return measure_flip_rate(self.codec, self._request, shard, storage)

    def run(self, settings: WorkerSettings, shards: Sequence[Shard]) -> Iterator[ShardOutcome]:
        """Yield the outcome of every shard."""
        ordered = sorted(shards, key=lambda shard: (-shard.size_bytes, shard.path))
        return ShardWorker(settings, self.codec).run(iter(ordered))

    def close(self) -> None:
        """Nothing is held beyond the process."""
