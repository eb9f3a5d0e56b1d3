"""A file under construction: in memory while small, on local disk beyond; hashed on the way."""

import hashlib
import io
import tempfile
from pathlib import Path
from types import TracebackType
from typing import IO, Any

_MEMORY_BYTES = 64 << 20
_READ_BYTES = 1 << 20


class Spill(io.RawIOBase):
    """A write-only file whose content can be put under a final name once it is whole."""

    def __init__(self) -> None:
        super().__init__()
        self._file: IO[bytes] = io.BytesIO()
        self._path: Path | None = None
        self._sha256 = hashlib.sha256()
        self.size_bytes = 0

    def writable(self) -> bool:
        """Always."""
        return True

    def write(self, content: Any) -> int:
        """Append bytes."""
        view = memoryview(content).cast("B")
        if self._path is None and self.size_bytes + len(view) > _MEMORY_BYTES:
            self._move_to_disk()
        self._file.write(view)
        self._sha256.update(view)
        self.size_bytes += len(view)
        return len(view)

    def tell(self) -> int:
        """How many bytes were written."""
        return self.size_bytes

    def content(self) -> bytes | Path:
        """The whole content, or the local file that holds it."""
        if self._path is not None:
            self._file.flush()
            return self._path
        assert isinstance(self._file, io.BytesIO)
        return self._file.getvalue()

    @property
    def sha256(self) -> str:
        """The hash of everything written."""
        return self._sha256.hexdigest()

    def discard(self) -> None:
        """Give memory and disk back."""
        self._file.close()
        if self._path is not None:
            self._path.unlink(missing_ok=True)

    def __enter__(self) -> "Spill":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.discard()

    def _move_to_disk(self) -> None:
        assert isinstance(self._file, io.BytesIO)
        # Named, because object stores upload large files by name.
        disk = tempfile.NamedTemporaryFile(prefix="xytok-", suffix=".spill", delete=False)  # noqa: SIM115
        disk.write(self._file.getbuffer())
        self._file, self._path = disk, Path(disk.name)
