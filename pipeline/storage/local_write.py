"""Writing a local file whole or not at all: temporary file, fsync, then its final name."""

import io
import os
import re
import shutil
import uuid
from pathlib import Path

_TEMPORARY = re.compile(r"\..+\.[0-9a-f]{8}\.tmp")


def write_local(final: Path, content: bytes | Path, *, exclusive: bool = False) -> bool:
    """Write bytes, or a copy of a file; False when `exclusive` and another file has the name."""
    final.parent.mkdir(parents=True, exist_ok=True)
    temporary = final.parent / f".{final.name[:100]}.{uuid.uuid4().hex[:8]}.tmp"
    source = io.BytesIO(content) if isinstance(content, bytes) else content.open("rb")
    try:
        with source, temporary.open("wb") as file:
            shutil.copyfileobj(source, file, 1 << 20)
            file.flush()
            os.fsync(file.fileno())
        if exclusive:
            os.link(temporary, final)
        else:
            temporary.replace(final)
    except FileExistsError:
        return False
    finally:
        temporary.unlink(missing_ok=True)
    _sync_folder(final.parent)
    return True


def is_temporary(path: str) -> bool:
    """Whether a file is one that a killed writer here left behind; others' `.tmp` are not."""
    return _TEMPORARY.fullmatch(path.rpartition("/")[2]) is not None


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
