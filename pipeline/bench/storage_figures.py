"""How fast a storage takes and gives bytes, and what a request to it costs."""

import os
import statistics
import uuid
from collections.abc import Callable

from pipeline.bench.figures import StorageFigures
from pipeline.bench.interleaving import time_once
from pipeline.storage.client import Storage
from pipeline.storage.location import join, redact

_BLOCK_BYTES = 8 << 20
_SMALL_BYTES = 4 << 10


def measure_storage(
    storage: Storage, url: str, *, size_bytes: int = 64 << 20, small_files: int = 16
) -> StorageFigures:
    """Write, list, read and remove a few files below `url`.

    A file just written to a local disk is read from memory: such a rate is that of the page cache.
    """
    folder = join(url, f"xytok-bench-{uuid.uuid4().hex[:8]}")
    large, small = join(folder, "large"), [join(folder, f"s{i:03d}") for i in range(small_files)]
    content = os.urandom(_BLOCK_BYTES) * max(1, size_bytes // _BLOCK_BYTES)
    try:
        writing = time_once(lambda: storage.write_finished(large, content))
        reading = time_once(lambda: _read_in_blocks(storage, large, len(content)))
        puts = [time_once(_put(storage, name)) for name in small]
        gets = [time_once(_get(storage, name)) for name in small]
        listing = time_once(lambda: storage.list_files(folder))
    finally:
        for name in [large, *small]:
            storage.delete(name)
    return StorageFigures(
        url=redact(url),
        write_mb_per_second=len(content) / writing / 1e6,
        read_mb_per_second=len(content) / reading / 1e6,
        put_seconds=statistics.median(puts),
        get_seconds=statistics.median(gets),
        list_seconds=listing,
    )


def _put(storage: Storage, url: str) -> Callable[[], object]:
    return lambda: storage.write_finished(url, b"x" * _SMALL_BYTES)


def _get(storage: Storage, url: str) -> Callable[[], object]:
    return lambda: storage.read_bytes(url)


def _read_in_blocks(storage: Storage, url: str, size_bytes: int) -> None:
    for start in range(0, size_bytes, _BLOCK_BYTES):
        storage.read_range(url, start, min(start + _BLOCK_BYTES, size_bytes))
