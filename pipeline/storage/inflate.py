"""Gzip streams inflated as they come, with every byte that can be had of a damaged one.

`corpus/shard.py` puts it between the blocks of a `.tar.gz` and its `ByteStream`.
"""

import logging
import zlib
from collections.abc import Generator, Iterator
from typing import Any

from pipeline.storage.location import redact

logger = logging.getLogger(__name__)
# A gzip stream may expand a thousandfold; it is inflated in steps of this size.
_INFLATE_BYTES = 4 << 20
# What zlib says of a wrong checksum or length, and how many bytes of the gzip trailer follow then.
_CHECKS = {"incorrect data check": 4, "incorrect length check": 0}


def inflate(
    blocks: Iterator[bytes], url: str, damaged: list[tuple[int, int]] | None = None
) -> Iterator[bytes]:
    """The content of a gzip stream, bounded in memory; ends with a warning where it breaks.

    The blocks are taken to their end even so, because there a source tells that it was replaced.
    What a wrong checksum covers is given all the same, and added to `damaged`: offset and size in
    the content.
    """
    inflater = _Inflater(url, [] if damaged is None else damaged)
    for block in blocks:
        if not inflater.is_broken:
            yield from inflater.feed(block)


class _Inflater:
    """Inflates one gzip member after the other."""

    def __init__(self, url: str, damaged: list[tuple[int, int]]) -> None:
        self._url = url
        self._damaged = damaged
        self._given = 0
        self._unread = 0  # bytes of a trailer that are still to come
        self._is_fresh = True  # no byte of this gzip member came yet
        self.is_broken = False
        self._begin_member()

    def feed(self, block: bytes) -> Iterator[bytes]:
        """The content of the next block."""
        pending, self._unread = block[self._unread :], max(0, self._unread - len(block))
        while pending and not self.is_broken:
            if self._is_fresh:
                # Zero padding between gzip members and after the last one is allowed.
                pending = pending.lstrip(b"\0")
                self._is_fresh = not pending
            before = self._zlib.copy()
            try:
                content = self._zlib.decompress(pending, _INFLATE_BYTES)
            except zlib.error as error:
                pending = yield from self._pass_fault(before, pending, error)
                continue
            yield from self._give(content)
            pending = self._zlib.unconsumed_tail
            if self._zlib.eof:
                pending = self._zlib.unused_data
                self._begin_member()

    def _begin_member(self) -> None:
        self._zlib = zlib.decompressobj(wbits=31)
        self._begun = self._given
        self._is_fresh = True

    def _give(self, content: bytes) -> Iterator[bytes]:
        if content:
            self._given += len(content)
            yield content

    def _pass_fault(
        self, before: Any, pending: bytes, error: zlib.error
    ) -> Generator[bytes, None, bytes]:
        """Give what lies before the fault, and return what follows a wrong checksum."""
        logger.warning("`%s` is not whole as gzip: %s", redact(self._url), error)
        num_passed = yield from self._small_steps(before, pending)
        trailer = next((left for text, left in _CHECKS.items() if text in str(error)), None)
        if trailer is None:
            self.is_broken = True
            return b""
        self._damaged.append((self._begun, self._given - self._begun))
        self._begin_member()
        rest = pending[num_passed + 1 :]
        self._unread = max(0, trailer - len(rest))
        return rest[trailer:]

    def _small_steps(self, inflater: Any, block: bytes) -> Generator[bytes, None, int]:
        """Give the content up to the byte that zlib refuses, and return its place in the block.

        A call that fails keeps the content of its whole input to itself.
        """
        num_passed = 0
        for size in (4096, 1):
            while num_passed < len(block):
                step, before = block[num_passed : num_passed + size], inflater.copy()
                try:
                    content = inflater.decompress(step)
                except zlib.error:
                    inflater = before
                    break
                yield from self._give(content)
                num_passed += len(step)
        return num_passed
