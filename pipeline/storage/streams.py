"""The bytes of one shard in order: blocks of a local or remote file.

`ByteStream` is what the tar reader takes from; it can take bytes back, to look for the next header
in a damaged tar. Remote ranges are fetched ahead, and each is retried by itself.
"""

import hashlib
import logging
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from pipeline.errors import InputError, NotFoundError, RefusedError, StorageError
from pipeline.storage.client import Storage, StoredFile
from pipeline.storage.location import is_local, local_path, redact

logger = logging.getLogger(__name__)

BLOCK_BYTES = 4 << 20
# Ranges of a remote shard that are fetched before they are asked for: one more each time that the
# reader had to wait, because WAV needs ten times the bytes of MP3 for the same speech.
_RANGES_AHEAD = 3
_MOST_AHEAD = 16


class ByteStream:
    """Bytes in order, with `offset` of the next one; `push_back` returns bytes to the front.

    Libraries that read from a file take one as well; `url` is what they call it in messages.
    `damaged` names ranges, by offset and size, whose checksum was wrong; it grows while reading.
    """

    def __init__(
        self, blocks: Iterator[bytes], url: str = "", damaged: list[tuple[int, int]] | None = None
    ) -> None:
        self._blocks = blocks
        self.damaged: list[tuple[int, int]] = [] if damaged is None else damaged
        self._url = url
        self._current = b""
        self._position = 0
        self.offset = 0

    def __str__(self) -> str:
        return f"`{redact(self._url)}`"

    def take(self, size: int) -> bytes:
        """The next `size` bytes, fewer only at the end."""
        end = self._position + size
        if end <= len(self._current):
            taken = self._current[self._position : end]
            self._position = end
        else:
            taken = self._take_across(size)
        self.offset += len(taken)
        return taken

    read = take  # its name where a file is expected

    def close(self) -> None:
        """Stop requesting what comes next."""
        self._blocks = iter(())

    def skip(self, size: int) -> int:
        """Pass over `size` bytes without keeping them; how many there were."""
        left = size
        while left:
            taken = len(self.take(min(left, BLOCK_BYTES)))
            if not taken:
                break
            left -= taken
        return size - left

    def push_back(self, content: bytes) -> None:
        """Return bytes that were just taken, to be taken again."""
        self._current = content + self._current[self._position :]
        self._position = 0
        self.offset -= len(content)

    def take_available(self) -> bytes:
        """Whatever is at hand, a block at most; empty at the end."""
        if self._position >= len(self._current):
            self._current, self._position = next(self._blocks, b""), 0
        taken = self._current[self._position :]
        self._position = len(self._current)
        self.offset += len(taken)
        return taken

    def _take_across(self, size: int) -> bytes:
        pieces = [self._current[self._position :]]
        missing = size - len(pieces[0])
        self._current, self._position = b"", 0
        while missing > 0:
            block = next(self._blocks, b"")
            if not block:
                break
            pieces.append(block[:missing])
            if len(block) > missing:
                self._current, self._position = block, missing
            missing -= len(pieces[-1])
        return b"".join(pieces)


def local_blocks(url: str) -> Iterator[bytes]:
    """The blocks of a local file."""
    try:
        with Path(local_path(url)).open("rb", buffering=0) as file:
            while block := file.read(BLOCK_BYTES):
                yield block
    except OSError as error:
        # A mounted disk that does not answer says nothing about the shard.
        is_gone = isinstance(error, FileNotFoundError | IsADirectoryError | NotADirectoryError)
        is_refused = isinstance(error, PermissionError)
        kind = NotFoundError if is_gone else RefusedError if is_refused else StorageError
        raise kind(
            f"Shard `{url}` cannot be read ({error}); expected a readable file; check the disk and "
            "the permissions"
        ) from error


def remote_blocks(file: StoredFile, storage: Storage) -> Iterator[bytes]:
    """The blocks of a remote file, by ranges where its server gives them, else from its start."""
    if file.size_bytes < 0:
        raise InputError(
            f"Shard `{redact(file.url)}` has no known size; expected a server that tells it "
            "(Content-Length); copy the shard to other storage"
        )
    if storage.gives_ranges(file.url):
        yield from _range_blocks(file, storage)
    else:
        yield from storage.read_from_start(file.url, file.size_bytes, BLOCK_BYTES)


def check_as_listed(file: StoredFile, storage: Storage) -> None:
    """Raise where a file that was read is not the one that was listed."""
    if storage.file_info(file.url) != file:
        raise InputError(
            f"`{redact(file.url)}` was replaced since it was listed; expected a source that stays "
            "as listed; run the command again once the new one is whole"
        )


def _range_blocks(file: StoredFile, storage: Storage) -> Iterator[bytes]:
    """Each block is a retried range request; as many are under way as the reader's rate needs."""
    pool = ThreadPoolExecutor(_MOST_AHEAD, thread_name_prefix="xytok-range")
    pending: deque[Future[bytes]] = deque()
    starts = iter(range(0, file.size_bytes, BLOCK_BYTES))

    def request_next() -> bool:
        start = next(starts, None)
        if start is not None:
            end = min(start + BLOCK_BYTES, file.size_bytes)
            pending.append(pool.submit(storage.read_range, file.url, start, end))
        return start is not None

    try:
        for _ in range(_RANGES_AHEAD):
            request_next()
        ahead = _RANGES_AHEAD
        while pending:
            asked = pending.popleft()
            if not asked.done():
                ahead = min(ahead + 1, _MOST_AHEAD)
            block = asked.result()
            while len(pending) < ahead and request_next():
                pass
            yield block
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def file_blocks(file: StoredFile, storage: Storage) -> Iterator[bytes]:
    """The blocks of a file; raises at its end where it is not the one that was listed."""
    yield from local_blocks(file.url) if is_local(file.url) else remote_blocks(file, storage)
    check_as_listed(file, storage)


def file_sha256(url: str, storage: Storage) -> str:
    """The hash of a file, read block by block."""
    stream = ByteStream(file_blocks(storage.file_info(url), storage), url)
    found = hashlib.sha256()
    while block := stream.take(BLOCK_BYTES):
        found.update(block)
    return found.hexdigest()
