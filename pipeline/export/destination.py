"""The folder that an export writes: what it has agreed to hold, which shards are done, the end.

`_export/request.json` is created first and compared by every later command, one record a shard is
written after the shard's files, and `export.json` last of all; then `_export/` is removed. A file
appears whole or not at all, and equal requests write equal bytes, so a command that was killed is
resumed by the same command.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pipeline.errors import IdentityError, NotFoundError, OutputError
from pipeline.export.contract import Shard, ShardFiles
from pipeline.export.record import EXPORT_RECORD, ExportRecord, parse_record
from pipeline.output.identity import check_same_identity
from pipeline.output.manifest import WrittenFile
from pipeline.plural import plural
from pipeline.storage.client import Storage
from pipeline.storage.local_write import is_temporary
from pipeline.storage.location import is_local, join, normalise, redact

_STATE = "_export"
LEASE_FOLDER = f"{_STATE}/lease"
_REQUEST = f"{_STATE}/request.json"
# What of a request tells which clips the run had.
_CLIPS = ("parts", "parts_sha256", "dropped")
_RECORD = re.compile(r"(?P<split>\d+)-(?P<number>\d+)\.json\Z")


class Destination:
    """One export's folder; `folder_of` says where a split has its files."""

    def __init__(
        self, storage: Storage, url: str, splits: tuple[str, ...], *, in_one_folder: bool
    ) -> None:
        self.storage = storage
        self.url = normalise(url)
        self._splits = splits
        self._in_one_folder = in_one_folder

    def folder_of(self, split: int) -> str:
        """The path of a split's folder below the destination.

        `export.json` is never in it: lhotse takes every file of a folder for data.
        """
        return "" if self._in_one_folder else f"{self._splits[split]}/"

    def read_record(self) -> ExportRecord | None:
        """The `export.json` of an export that ended; None before."""
        try:
            content = self.storage.read_bytes(join(self.url, EXPORT_RECORD))
        except NotFoundError:
            return None
        return parse_record(join(self.url, EXPORT_RECORD), content)

    def claim(self, request: Mapping[str, Any]) -> None:
        """Note what is exported here; raise where the folder holds another export."""
        url = join(self.url, _REQUEST)
        if not self.storage.create_exclusive(url, _json(request)):
            check_same_export(self.url, _parsed(url, self.storage.read_bytes(url)), request)

    def finished_shards(self) -> set[tuple[int, int]]:
        """Split and number of the shards that are done."""
        files = self.storage.list_files(join(self.url, _STATE))
        found = (_RECORD.search(file.url) for file in files)
        return {(int(m["split"]), int(m["number"])) for m in found if m}

    def publish(self, split: int, shard: ShardFiles, samples: int, seconds: float) -> None:
        """Put the files of a shard in place, then its record, which says that it is done."""
        folder = self.folder_of(split)
        written = tuple(
            file.publish(self.storage, self.url, f"{folder}{path}", samples)
            for path, file in shard.opened.items()
        )
        record = Shard(shard.number, samples, seconds, written, shard.facts)
        url = join(self.url, _STATE, f"{split}-{shard.number}.json")
        self.storage.write_finished(url, _json(asdict(record)))

    def read_shard(self, split: int, number: int) -> Shard:
        """The record of a shard that is done."""
        url = join(self.url, _STATE, f"{split}-{number}.json")
        values = _parsed(url, self.storage.read_bytes(url))
        files = tuple(WrittenFile(**file) for file in values.pop("files"))
        return Shard(**values, files=files)

    def write_small(self, path: str, content: bytes) -> WrittenFile:
        """Put a file that speaks of all shards in place."""
        self.storage.write_finished(join(self.url, path), content)
        return WrittenFile(path, len(content), hashlib.sha256(content).hexdigest(), 0)

    def finish(self, record: ExportRecord) -> None:
        """Write `export.json`, which says that all is there; then `clean` may be called."""
        self.storage.write_finished(join(self.url, EXPORT_RECORD), record.to_json())

    def clean(self) -> None:
        """Remove what was only needed to resume, and half-written files of killed commands."""
        state = f"{join(self.url, _STATE)}/"
        for file in self.storage.list_files(self.url):
            if file.url.startswith(state) or is_temporary(file.url):
                self.storage.delete(file.url)
        if is_local(self.url):
            for folder in (LEASE_FOLDER, _STATE):
                with suppress(FileNotFoundError):
                    Path(join(self.url, folder)).rmdir()


def check_same_export(url: str, existing: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """Raise where a folder holds another export: of other clips, or with other settings."""
    one, other = ({k: v for k, v in each.items() if k not in _CLIPS} for each in (existing, wanted))
    if one == other and existing["parts_sha256"] != wanted["parts_sha256"]:
        raise IdentityError(
            f"`{redact(url)}` holds an export of other clips than the run has now: "
            f"{_what_changed(existing, wanted)}; expected the same to go on with; export into "
            "another folder, or empty this one"
        )
    check_same_identity(redact(url), {**existing, "dropped": 0}, {**wanted, "dropped": 0})


def _what_changed(existing: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    (parts, now), (out, out_now) = (
        (existing.get(name, 0), wanted.get(name, 0)) for name in ("parts", "dropped")
    )
    if parts != now:
        return f"it had {plural(parts, 'finished shard')}, and has {now:,}"
    if out != out_now:
        return (
            "clips were dropped, or brought back by `xytok drop --undo`, since then (left out: "
            f"{out:,} then, {out_now:,} now)"
        )
    return "shards were done again since then, or other clips were dropped"


def _json(value: Mapping[str, Any]) -> bytes:
    return (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode()


def _parsed(url: str, content: bytes) -> dict[str, Any]:
    try:
        values: dict[str, Any] = json.loads(content)
    except ValueError as error:
        raise OutputError(
            f"`{redact(url)}` cannot be read ({error}); expected the JSON of `xytok export`; use "
            "another destination, or empty this one"
        ) from error
    return values
