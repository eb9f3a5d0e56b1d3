"""Finds one clip of an output by its key: its row or its reject, and the audio behind it.

`xytok show` calls it. Decoding the codes is left to the command.
"""

import logging
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import InputError
from pipeline.output.manifest import Manifest, list_manifests, read_manifest
from pipeline.output.schema import SIDE
from pipeline.read.dataset import find_parts
from pipeline.storage.client import Storage
from pipeline.storage.location import join, normalise, redact
from xy_codec.codes_shape import CodesShape
from xy_codec.contract import Encoded

logger = logging.getLogger(__name__)
_READERS = 8
# The first bytes of what libsndfile reads, to name the file of an original.
_MAGICS = {b"RIFF": ".wav", b"fLaC": ".flac", b"OggS": ".ogg", b"FORM": ".aiff", b".snd": ".au"}


@dataclass(frozen=True, slots=True)
class FoundRow:
    """The row of a clip and the part, or the reject file, that holds it."""

    part: str
    row: dict[str, Any]

    def encoded(self, shape: CodesShape) -> Encoded:
        """What the codec of the run made of the clip."""
        side = self.row.get(SIDE)
        return Encoded(
            np.array(self.row["codes"], shape.dtype),
            None if side is None else np.array(side, np.float32),
        )

    @property
    def is_reject(self) -> bool:
        """Whether the clip has no codes; the row then tells the reason."""
        return "reason" in self.row


def find_row(output: str, key: str, storage: Storage, shard: str = "") -> FoundRow:
    """The row of a key, else its reject; where several have the key, `shard` is part of a path."""
    parts = [part for part in find_parts(output, storage) if shard in part]
    found = _search(parts, key, storage)
    if not found:
        files = storage.list_files(join(normalise(output), "rejects"))
        found = _search([file.url for file in files if shard in file.url], key, storage)
    if len(found) == 1:
        return found[0]
    if not found:
        raise InputError(
            f"No row has the key `{key}` in {len(parts)} parts of `{redact(output)}`, and no "
            "reject either; expected a key as in column `key`; check the spelling, and what "
            "`--where` filters"
        )
    places = ", ".join(f"`{one.row['shard']}`" for one in found)
    raise InputError(
        f"{len(found)} rows have the key `{key}`: in {places}; expected one; name its shard with "
        "`--shard`"
    )


def read_original(output: str, found: FoundRow, storage: Storage) -> bytes:
    """The clip's audio member, read as a range of its source tar."""
    offset, size = found.row["tar_offset"], found.row["tar_size"]
    manifest = _manifest_of(output, found.part, storage)
    if offset is None:
        raise InputError(
            f"The offset of `{found.row['key']}` in `{redact(manifest.url)}` is not known; "
            "expected an uncompressed tar and a clip with audio; unpack the tar to get the original"
        )
    return storage.read_range(manifest.url, offset, offset + size)


def original_suffix(content: bytes) -> str:
    """The suffix for a file with this audio, told by its first bytes."""
    return _MAGICS.get(content[:4], ".mp3")


def _search(parts: Sequence[str], key: str, storage: Storage) -> list[FoundRow]:
    with ThreadPoolExecutor(_READERS) as pool:
        return [row for rows in pool.map(lambda p: _rows(p, key, storage), parts) for row in rows]


def _rows(part: str, key: str, storage: Storage) -> Iterable[FoundRow]:
    fs, path = storage.filesystem(part)
    try:
        with fs.open(path, "rb") as file:
            parquet: Any = pq.ParquetFile(file)
            for group in range(parquet.num_row_groups):
                keys = parquet.read_row_group(group, columns=["key"]).column("key").to_pylist()
                if key in keys:
                    rows = parquet.read_row_group(group).slice(keys.index(key), 1)
                    return [FoundRow(part, rows.to_pylist()[0])]
    except (pa.ArrowException, OSError, KeyError) as error:
        # The search goes on: another part may have the key.
        logger.warning("Part `%s` cannot be read and was not searched: %s", redact(part), error)
    return []


def _manifest_of(output: str, part: str, storage: Storage) -> Manifest:
    output = normalise(output)
    for name in list_manifests(storage, output):
        if part in (join(output, f"{kind}/{name.stem}.parquet") for kind in ("tokens", "rejects")):
            return read_manifest(storage, join(output, name.path))
    raise InputError(
        f"Part `{redact(part)}` has no manifest, which names its source; expected an output of "
        "`xytok tokenize`; pass the whole output folder"
    )
