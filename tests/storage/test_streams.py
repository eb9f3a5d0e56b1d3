"""Ranges of a remote shard are fetched as far ahead as its reader needs, and no further."""

import threading
import time
from dataclasses import dataclass, field

import fsspec

from pipeline.storage.client import Storage, StoredFile
from pipeline.storage.streams import BLOCK_BYTES, remote_blocks

URL = "memory://streams/wav.tar"
NUM_BLOCKS = 32
LATENCY_SECONDS = 0.08


@dataclass(frozen=True)
class DistantStorage(Storage):
    """Real storage, each range of which takes a while to come; counts those under way."""

    under_way: list[int] = field(default_factory=lambda: [0, 0])
    lock: threading.Lock = field(default_factory=threading.Lock)

    def read_range(
        self, url: str, start: int | None, end: int | None, *, may_end: bool = False
    ) -> bytes:
        with self.lock:
            self.under_way[0] += 1
            self.under_way[1] = max(self.under_way)
        time.sleep(LATENCY_SECONDS)
        try:
            return super().read_range(url, start, end, may_end=may_end)
        finally:
            with self.lock:
                self.under_way[0] -= 1


def most_under_way(pause_seconds: float) -> int:
    """How many ranges are under way at most for a reader that pauses after every block."""
    fs = fsspec.filesystem("memory")
    fs.pipe_file("/streams/wav.tar", bytes(NUM_BLOCKS * BLOCK_BYTES))
    storage = DistantStorage()
    found = storage.file_info(URL)
    read = 0
    for block in remote_blocks(StoredFile(URL, found.size_bytes, found.etag), storage):
        read += len(block)
        time.sleep(pause_seconds)
    assert read == found.size_bytes
    return storage.under_way[1]


def test_a_reader_that_waits_gets_more_ranges_ahead() -> None:
    assert most_under_way(pause_seconds=0.0) >= 6


def test_a_reader_that_is_slower_than_storage_gets_few() -> None:
    assert most_under_way(pause_seconds=2 * LATENCY_SECONDS) <= 6
