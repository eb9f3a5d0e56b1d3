"""A tar whose bytes depend on its members alone: no owner, no times, mode 0644."""

import io
import tarfile
from types import TracebackType

from pipeline.output.parquet_file import UnfinishedFile


class TarFile:
    """Writes members one after the other; leaving the block ends the tar."""

    def __init__(self, file: UnfinishedFile) -> None:
        self._tar = tarfile.open(fileobj=file, mode="w|")  # noqa: SIM115  `__exit__` closes it

    def add(self, name: str, content: bytes) -> None:
        """Append a member."""
        member = tarfile.TarInfo(name)
        member.size = len(content)
        self._tar.addfile(member, io.BytesIO(content))

    def __enter__(self) -> "TarFile":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._tar.close()
