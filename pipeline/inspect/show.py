"""Finds one clip of an output by its key: its row, and the audio bytes that it was made from.

`xytok show` calls it. Decoding the codes is left to the command.
"""

import logging
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import IdentityError, InputError
from pipeline.output.index import read_shards
from pipeline.output.index_table import KEY
from pipeline.output.manifest import list_manifests, read_manifest
from pipeline.output.run_record import RunRecord
from pipeline.read.dataset import find_parts
from pipeline.storage.client import Storage
from pipeline.storage.location import join, normalise, redact
from pipeline.worker.codec_request import CodecRequest
from xy_codec.contract import CodecIdentity

logger = logging.getLogger(__name__)
_READERS = 8
_COLUMNS = ("part_path", KEY, "smallest_key", "largest_key")
# The first bytes of what libsndfile reads, to name the file of an original.
_MAGICS = {b"RIFF": ".wav", b"fLaC": ".flac", b"OggS": ".ogg", b"FORM": ".aiff", b".snd": ".au"}


@dataclass(frozen=True, slots=True)
class FoundRow:
    """The row of a clip and its part; `manifest` is None in a folder that has none."""

    part: str
    manifest: str | None
    row: dict[str, Any]


def find_row(output: str, key: str, storage: Storage, shard: str = "") -> FoundRow:
    """The row of a key; where several shards have it, `shard` is a piece of one shard's path.

    Parts whose smallest or largest key excludes it are not read.
    """
    output = normalise(output)
    names = list_manifests(storage, output)
    shards: list[tuple[str, str | None]] = [
        (join(output, part), manifest)
        for table in read_shards(storage, output, names, _COLUMNS)
        for part, manifest, smallest, largest in zip(*table.to_pydict().values(), strict=True)
        if smallest is None or smallest <= key <= largest
    ]
    if not names:
        shards = [(part, None) for part in find_parts(output, storage)]
    wanted = [each for each in shards if shard in each[0]]
    with ThreadPoolExecutor(_READERS) as pool:
        searched = pool.map(lambda each: _rows(each[0], each[1], key, storage), wanted)
        found = [row for rows in searched for row in rows]
    if len(found) == 1:
        return found[0]
    if not found:
        raise InputError(
            f"No row has the key `{key}` in the parts of `{redact(output)}`; expected a "
            "key as in column `key`; look into `rejects/`, or check the spelling"
        )
    places = ", ".join(f"`{one.row['shard']}`" for one in found)
    raise InputError(
        f"{len(found)} rows have the key `{key}`: in {places}; expected one; name its shard with "
        "`--shard`"
    )


def read_original(output: str, found: FoundRow, storage: Storage) -> bytes:
    """The clip's audio member, read as a range of its source tar."""
    offset, size = found.row["tar_offset"], found.row["tar_size"]
    if found.manifest is None:
        raise InputError(
            f"Part `{redact(found.part)}` has no manifest, which names its source; expected an "
            "output of `xytok tokenize`; pass the whole output folder"
        )
    manifest = read_manifest(storage, join(normalise(output), found.manifest))
    if offset is None:
        raise InputError(
            f"`{redact(manifest.url)}` is compressed, so its clips have no offsets; expected an "
            "uncompressed tar; unpack it to get the original"
        )
    return storage.read_range(manifest.url, offset, offset + size)


def original_suffix(content: bytes) -> str:
    """The suffix for a file with this audio, told by its first bytes."""
    return _MAGICS.get(content[:4], ".mp3")


def recorded_codec(record: RunRecord, source: str | None) -> CodecRequest:
    """The codec of a run, from `source` or from where the run had it."""
    codec, notes = record.identity["codec"], record.provenance
    return CodecRequest(
        source=source or notes.get("codec_source") or str(codec["name"]),
        config=None if source else notes.get("codec_config"),
        options=CodecRequest.options_of(codec),
    )


def check_decodes(codec: CodecIdentity, record: RunRecord) -> None:
    """Raise when the codec has another checkpoint than the one that made the codes."""
    made_with = record.identity["codec"]
    if codec.checkpoint_sha256 != made_with["checkpoint_sha256"]:
        raise IdentityError(
            f"Codec `{codec.name}` has checkpoint `{codec.checkpoint_sha256[:12]}`, the codes were "
            f"made with `{made_with['name']}`, `{made_with['checkpoint_sha256'][:12]}`; expected "
            "the same; pass it as `--codec`"
        )


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
