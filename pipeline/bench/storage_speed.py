"""The speed of a storage: bytes a second to write and to read, and seconds of single requests."""

import os
import statistics
import uuid
from dataclasses import dataclass
from functools import partial

from pipeline.bench.timing import time_once
from pipeline.storage.client import Storage
from pipeline.storage.location import join, redact

_BLOCK_BYTES = 8 << 20
_SMALL_BYTES = 4 << 10


@dataclass(frozen=True, slots=True)
class StorageFigures:
    """What one connection to a storage reaches."""

    url: str
    write_mb_per_second: float
    read_mb_per_second: float
    put_seconds: float
    get_seconds: float
    list_seconds: float


def measure_storage(
    storage: Storage, url: str, *, size_bytes: int = 64 << 20, small_files: int = 16
) -> StorageFigures:
    """Write, list, read and remove a few files below `url`.

    A local file that was just written is read from the page cache, not from the disk.
    """
    folder = join(url, f"xytok-bench-{uuid.uuid4().hex[:8]}")
    large, small = join(folder, "large"), [join(folder, f"s{i:03d}") for i in range(small_files)]
    content = os.urandom(_BLOCK_BYTES) * max(1, size_bytes // _BLOCK_BYTES)
    try:
        writing = time_once(lambda: storage.write_finished(large, content))
        reading = time_once(lambda: _read_in_blocks(storage, large, len(content)))
        puts = [
            time_once(partial(storage.write_finished, name, b"x" * _SMALL_BYTES)) for name in small
        ]
        gets = [time_once(partial(storage.read_bytes, name)) for name in small]
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


def _read_in_blocks(storage: Storage, url: str, size_bytes: int) -> None:
    for start in range(0, size_bytes, _BLOCK_BYTES):
        storage.read_range(url, start, min(start + _BLOCK_BYTES, size_bytes))
