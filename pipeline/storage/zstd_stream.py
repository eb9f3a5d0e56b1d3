"""Zstandard streams decompressed as they come, by pyarrow.

`corpus/shard.py` puts it between the blocks of a `.tar.zst` and its `ByteStream`.
"""

import io
import logging
from collections.abc import Iterator

from pipeline.storage.location import redact

logger = logging.getLogger(__name__)
# What a read that fails holds is lost: little, for the sake of damaged streams.
_READ_BYTES = 4096
_CONTENT_BYTES = 1 << 20


class _Blocks(io.RawIOBase):
    """Blocks as a file that is read from its start; `error` is what ended them, if any."""

    def __init__(self, blocks: Iterator[bytes]) -> None:
        super().__init__()
        self._blocks = blocks
        self._rest = b""
        self.error: BaseException | None = None

    def readable(self) -> bool:
        return True

    def read(self, size: int | None = -1) -> bytes:
        try:
            self._rest = self._rest or next(self._blocks, b"")
        except BaseException as error:
            self.error = error
            raise
        wanted = len(self._rest) if size is None or size < 0 else size
        taken, self._rest = self._rest[:wanted], self._rest[wanted:]
        return taken


def decompress_zstd(
    blocks: Iterator[bytes], url: str, damaged: list[tuple[int, int]] | None = None
) -> Iterator[bytes]:
    """The content of a Zstandard stream; ends with a warning where the stream breaks.

    The blocks are taken to their end even so, because there a source tells that it was replaced.
    A wrong checksum shows itself only after what it covers was given: all of it is then added to
    `damaged`, offset and size in the content. Without `damaged` only a beginning is asked for.
    """
    import pyarrow as pa  # here, because plans of other tars start sooner without it

    source = _Blocks(blocks)
    content = bytearray()
    given = 0
    try:
        with pa.CompressedInputStream(pa.PythonFile(source, mode="r"), "zstd") as stream:
            while piece := stream.read(_READ_BYTES):
                content += piece
                if len(content) >= _CONTENT_BYTES:
                    given += len(content)
                    yield bytes(content)
                    content.clear()
    except (pa.ArrowException, OSError) as error:
        if source.error is not None:
            raise source.error from error
        if damaged is not None:
            logger.warning("`%s` is not whole as Zstandard: %s", redact(url), error)
            damaged += [(0, given + len(content))] if "checksum" in str(error) else []
    if content:
        yield bytes(content)
    for _ in blocks:
        pass
