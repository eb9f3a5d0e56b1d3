"""A remote file for libraries that want to seek: every read is a retried request for a range."""

import io
import os

from pipeline.storage.client import Storage, StoredFile


class RangeFile(io.RawIOBase):
    """A file of known size, open for reading; `error` is what ended the last read, if any."""

    def __init__(self, file: StoredFile, storage: Storage) -> None:
        super().__init__()
        self._file = file
        self._storage = storage
        self._position = 0
        self.error: BaseException | None = None

    def readable(self) -> bool:
        """Yes."""
        return True

    def seekable(self) -> bool:
        """Yes."""
        return True

    def tell(self) -> int:
        """Where the next read begins."""
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move to another place."""
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._file.size_bytes}
        self._position = max(0, start[whence] + offset)
        return self._position

    def read(self, size: int | None = -1) -> bytes:
        """The next bytes, fewer than `size` only at the end."""
        left = max(0, self._file.size_bytes - self._position)
        wanted = left if size is None or size < 0 else min(size, left)
        if not wanted:
            return b""
        end = self._position + wanted
        try:
            content = self._storage.read_range(self._file.url, self._position, end)
        except BaseException as error:
            # Libraries written in other languages turn it into an error of their own.
            self.error = error
            raise
        self._position = end
        return content
