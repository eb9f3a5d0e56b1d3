"""The shards that a worker gets while it works, in the order in which they are put."""

import queue
from collections.abc import Iterator

from pipeline.corpus.shard import Shard


class ShardFeed(Iterator[Shard]):
    """An iterator that waits for the next shard until the feed is closed."""

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[Shard | None] = queue.SimpleQueue()

    def put(self, shard: Shard) -> None:
        """Append a shard."""
        self._queue.put(shard)

    def close(self) -> None:
        """End the iteration after the shards that were put."""
        self._queue.put(None)

    def __next__(self) -> Shard:
        shard = self._queue.get()
        if shard is None:
            raise StopIteration
        return shard
