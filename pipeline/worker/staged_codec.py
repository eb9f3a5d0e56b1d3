"""A codec's repository, copied into the output of a run: every node takes the files from there.

So the hub is asked once and not by each of 500 nodes, and all of them have the same revision, even
when the repository changes during the run or before it is resumed. `codec/<owner>--<name>/` in the
output holds the files; `files.json` is written last and lists them.
"""

import json
import logging
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO

from pipeline.errors import NotFoundError
from pipeline.storage.client import Storage
from pipeline.storage.location import is_local, join, redact

logger = logging.getLogger(__name__)
CODEC = "codec"
_LIST = "files.json"
_BLOCK_BYTES = 2**26


@dataclass(frozen=True, slots=True)
class StagedCodec:
    """The files of a repository below `place`; `content` is what their list says."""

    place: str
    content: str
    storage: Storage

    def fetch(self) -> Path:
        """The folder on this machine with the files, which its first worker fetches."""
        from xy_codec.weights.source import cache_folder, fetch_once

        folder = cache_folder(f"{self.place}|{self.content}")
        for name, size in json.loads(self.content)["files"].items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            fetch_once(folder / name, partial(self._copy, name, size))
        return folder

    def _copy(self, name: str, size_bytes: int, target: BinaryIO) -> None:
        for start in range(0, size_bytes, _BLOCK_BYTES):
            end = min(start + _BLOCK_BYTES, size_bytes)
            target.write(self.storage.read_range(join(self.place, name), start, end))


def stage_codec(source: str, output: str, storage: Storage) -> StagedCodec | None:
    """Copy a repository into the output, unless an earlier run did; None for any other codec."""
    from xy_codec.errors import CheckpointError
    from xy_codec.weights.source import fetch_repository

    staged = find_staged(source, output, storage)
    if staged is not None or not _is_staged(source, output):
        return staged
    try:
        folder = fetch_repository(source)
    except CheckpointError as error:
        logger.warning("The workers fetch the codec themselves, because here: %s", error)
        return None
    place = _place(source, output)
    logger.info("Copying the codec `%s` to `%s`, for all workers", source, redact(place))
    sizes = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = path.relative_to(folder).as_posix()
        # The client of the hub keeps links to files elsewhere.
        storage.write_finished(join(place, name), path.resolve())
        sizes[name] = path.stat().st_size
    content = json.dumps({"revision": folder.name, "files": sizes}, indent=1)
    storage.write_finished(join(place, _LIST), content.encode())
    return StagedCodec(place, content, storage)


def find_staged(source: str, output: str, storage: Storage) -> StagedCodec | None:
    """The repository that a run copied into this output; None where there is none."""
    if not _is_staged(source, output):
        return None
    place = _place(source, output)
    try:
        return StagedCodec(place, storage.read_bytes(join(place, _LIST)).decode(), storage)
    except NotFoundError:
        return None


def _is_staged(source: str, output: str) -> bool:
    from xy_codec.weights.source import is_repository

    # Machines that share a folder share the home of the hub's client as well, or can.
    return not is_local(output) and is_repository(source)


def _place(source: str, output: str) -> str:
    return join(output, CODEC, source.replace("/", "--"))
