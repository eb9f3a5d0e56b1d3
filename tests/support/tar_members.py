"""The bytes of the members of a tar, by `tarfile`: what our own reader is compared with."""

import tarfile
from pathlib import Path


def read_member(tar: tarfile.TarFile, member: tarfile.TarInfo | str) -> bytes:
    file = tar.extractfile(member)
    assert file is not None, f"{member} is not a file"
    return file.read()


def first_clip(shard: Path) -> tuple[tarfile.TarInfo, bytes]:
    """The first MP3 of a shard: its place and its bytes."""
    with tarfile.open(shard) as tar:
        member = next(item for item in tar if item.name.endswith(".mp3"))
        return member, read_member(tar, member)
