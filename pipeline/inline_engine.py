"""One worker in this process, without Ray: for laptops, debugging, tests and benchmarks."""

from collections.abc import Iterator, Sequence

from pipeline.settings import WorkerSettings
from pipeline.shard import Shard
from pipeline.shard_outcome import ShardOutcome
from pipeline.shard_worker import ShardWorker
from pipeline.stage_clock import StageTime
from xy_codec.contract import Codec


class InlineEngine:
    """Runs all shards in one `ShardWorker`, largest first."""

    def __init__(self, settings: WorkerSettings, codec: Codec) -> None:
        self._worker = ShardWorker(settings, codec)

    def run(self, shards: Sequence[Shard]) -> Iterator[ShardOutcome]:
        """Yield the outcome of every shard."""
        ordered = sorted(shards, key=lambda shard: (-shard.size_bytes, shard.path))
        return self._worker.run(iter(ordered))

    def stage_times(self) -> list[StageTime]:
        """Busy seconds per stage."""
        return self._worker.stage_times()
