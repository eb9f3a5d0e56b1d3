"""Web servers that give no ranges: they answer every request with the whole file.

`client.py` asks here whether a server gives ranges. Where it does not, `streams.py` takes a file
from its start by a `RestartingReader`.
"""

from typing import Any

import fsspec.asyn

from pipeline.errors import StorageError


def gives_ranges(fs: Any, path: str) -> bool:
    """Whether the server answers a request for the first byte with this byte alone."""

    async def ask() -> bool:
        session = await fs.set_session()
        options = dict(fs.kwargs)
        options["headers"] = {**options.get("headers", {}), "Range": "bytes=0-0"}
        async with session.get(fs.encode_url(path), **options) as answer:
            answer.raise_for_status()
            return bool(answer.status == 206)

    is_partial: bool = fsspec.asyn.sync(fs.loop, ask)
    return is_partial


class RestartingReader:
    """Reads a file from its start; after a lost connection it passes over what it gave before."""

    def __init__(self, what: str, max_restarts: int) -> None:
        self._what = what
        self._restarts_left = max_restarts
        self._file: Any = None
        self._position = self._given = 0

    def read(self, size_bytes: int, fs: Any, path: str) -> bytes:
        """At most `size_bytes` of what comes next, maybe none yet after a lost connection."""
        if self._file is None:
            if self._restarts_left < 0:
                raise StorageError(
                    f"{self._what} broke off again and again after {self._given} bytes; expected a "
                    "server that gives the whole file, or ranges of it; copy it to other storage"
                )
            self._restarts_left -= 1
            self._file, self._position = fs.open(path, "rb", block_size=0), 0
        try:
            content = self._read_up_to(size_bytes)
        except BaseException:
            self.close()
            raise
        seen_before = min(len(content), self._given - self._position)
        self._position += len(content)
        self._given = max(self._given, self._position)
        return content[seen_before:]

    def close(self) -> None:
        """Close the connection, if one is open."""
        file, self._file = self._file, None
        if file is not None:
            file.close()

    def _read_up_to(self, size_bytes: int) -> bytes:
        pieces = []
        while size_bytes > 0:
            piece = self._file.read(size_bytes)
            if not piece:
                break
            pieces.append(piece)
            size_bytes -= len(piece)
        if not pieces:
            raise ConnectionError(f"the answer ended after {self._position} bytes")
        return b"".join(pieces)
