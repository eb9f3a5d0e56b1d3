"""Finds one clip of an output by its key: its row or its reject, and the audio behind it.

`xytok show` calls it. Decoding the codes is left to the command.
"""

import logging
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.corpus.clip_source import audio_reader
from pipeline.corpus.rules import ReadRules
from pipeline.corpus.shard import is_tar, list_path, stem_of
from pipeline.errors import InputError, UsageError
from pipeline.output.dropped import read_dropped
from pipeline.output.index import read_shards
from pipeline.output.index_table import KEY
from pipeline.output.manifest import read_manifest
from pipeline.output.retries import finished_in, prefix_of_part
from pipeline.output.run_record import read_run_record
from pipeline.output.schema import SIDE
from pipeline.read.dataset import find_parts
from pipeline.storage.client import Storage
from pipeline.storage.location import join, normalise, redact
from xy_codec.codes_shape import CodesShape
from xy_codec.contract import Encoded

logger = logging.getLogger(__name__)
_READERS = 8
_COLUMNS = (KEY, "part_path", "smallest_key", "largest_key", "rejects", "reject_file_path")
# The first bytes of what libsndfile reads, to name the file of an original.
_MAGICS = {b"RIFF": ".wav", b"fLaC": ".flac", b"OggS": ".ogg", b"FORM": ".aiff", b".snd": ".au"}


@dataclass(frozen=True, slots=True)
class FoundRow:
    """The row of a clip and the part, or the reject file, that holds it.

    `manifest` is None in a folder that has none; `dropped` is why `xytok drop` took the clip out.
    """

    part: str
    manifest: str | None
    row: dict[str, Any]
    dropped: str | None = None

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
    """The row of a key, else its reject; where several have the key, `shard` is part of a path.

    Parts whose smallest or largest key excludes it are not read, nor reject files without rows.
    """
    output = normalise(output)
    parts: list[tuple[str, str | None]] = []
    # A clip that was a reject twice is told of as the last retry found it.
    rejects: list[list[tuple[str, str | None]]] = []
    for place, names in finished_in(storage, output):
        own: list[tuple[str, str | None]] = []
        for table in read_shards(storage, place.url, names, _COLUMNS):
            for row in table.to_pylist():
                manifest = f"{place.prefix}{row[KEY]}"
                if row["smallest_key"] is None or row["smallest_key"] <= key <= row["largest_key"]:
                    parts.append((join(place.url, row["part_path"]), manifest))
                if row["rejects"]:
                    own.append((join(place.url, row["reject_file_path"]), manifest))
        rejects.insert(0, own)
        if not names and not place.prefix:
            parts = [(part, None) for part in find_parts(output, storage)]
    found: list[FoundRow] = []
    for files in (parts, *rejects):
        wanted = [each for each in files if shard in each[0]]
        found = found or _search(wanted, key, storage)
    if len(found) == 1:
        part = found[0].part.removeprefix(output).lstrip("/")
        gone = read_dropped(storage, output).by_part.get(part, {}).get(key)
        return replace(found[0], dropped=gone["reason"] if gone else None)
    if not found:
        raise UsageError(
            f"No row has the key `{key}` in the parts of `{redact(output)}`, and no reject "
            "either; expected a key as in column `key`; check the spelling, and what `--where` "
            "filters"
        )
    places = ", ".join(f"`{one.row['shard']}`" for one in found)
    raise UsageError(
        f"{len(found)} rows have the key `{key}`: in {places}; expected one; name its shard with "
        "`--shard`"
    )


def read_original(output: str, found: FoundRow, storage: Storage) -> bytes:
    """The clip's audio, read by its place in the source."""
    offset, size = found.row["tar_offset"], found.row["tar_size"]
    if found.manifest is None:
        raise InputError(
            f"Part `{redact(found.part)}` has no manifest, which names its source; expected an "
            "output of `xytok tokenize`; pass the whole output folder"
        )
    manifest = read_manifest(storage, join(normalise(output), found.manifest))
    if offset is None:
        raise InputError(
            f"The offset of `{found.row['key']}` in `{redact(manifest.url)}` is not known; "
            "expected an uncompressed tar and a clip with audio; unpack the tar to get the original"
        )
    there = manifest.source_size_bytes - offset
    if is_tar(manifest.shard) and 0 <= there < size:
        raise InputError(
            f"`{redact(manifest.url)}` is cut inside of `{found.row['key']}`: {there} of its "
            f"{size} bytes are there; expected a whole tar; fetch it again"
        )
    place = f"{normalise(output)}/{prefix_of_part(found.part)}".rstrip("/")
    rules = ReadRules.of_reading(read_run_record(storage, place).identity)
    listed = join(place, list_path(stem_of(manifest.shard)))
    read = audio_reader(
        manifest.shard, manifest.url, storage, rules, lambda: storage.read_bytes(listed)
    )
    return read(offset, size)


def original_suffix(content: bytes) -> str:
    """The suffix for a file with this audio, told by its first bytes."""
    return _MAGICS.get(content[:4], ".mp3")


def _search(files: Sequence[tuple[str, str | None]], key: str, storage: Storage) -> list[FoundRow]:
    with ThreadPoolExecutor(_READERS) as pool:
        searched = pool.map(lambda each: _rows(each[0], each[1], key, storage), files)
        return [row for rows in searched for row in rows]


def _rows(part: str, manifest: str | None, key: str, storage: Storage) -> Iterable[FoundRow]:
    fs, path = storage.filesystem(part)
    try:
        with fs.open(path, "rb") as file:
            parquet: Any = pq.ParquetFile(file)
            for group in range(parquet.num_row_groups):
                keys = parquet.read_row_group(group, columns=["key"]).column("key").to_pylist()
                if key in keys:
                    rows = parquet.read_row_group(group).slice(keys.index(key), 1)
                    return [FoundRow(part, manifest, rows.to_pylist()[0])]
    except (pa.ArrowException, OSError, KeyError) as error:
        # The search goes on: another part may have the key.
        logger.warning("Part `%s` cannot be read and was not searched: %s", redact(part), error)
    return []
