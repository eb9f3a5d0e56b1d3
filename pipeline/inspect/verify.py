"""Verifies an output: every file and source against its manifest, and which files belong to none.

`xytok verify` calls it. It reads every byte of parts and rejects, but decodes nothing: whether the
codes are right is the question of the audit.
"""

import hashlib
import io
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pyarrow.parquet as pq

from pipeline.errors import InputError, PipelineError
from pipeline.output.manifest import (
    MANIFESTS,
    Manifest,
    ManifestName,
    WrittenFile,
    list_manifests,
    read_named_manifests,
)
from pipeline.output.parquet_layout import IDENTITY_KEY
from pipeline.output.run_record import RunRecord, read_run_record
from pipeline.storage.client import Storage
from pipeline.storage.local_write import is_temporary
from pipeline.storage.location import join, normalise, redact

_CHECKERS = 8
_FOLDERS = ("tokens/", "rejects/", f"{MANIFESTS}/")


@dataclass(frozen=True, slots=True)
class Fault:
    """A file or source that is not as its manifest says."""

    path: str
    problem: str


@dataclass(frozen=True, slots=True)
class Verification:
    """What was found; leftovers are files that belong to no finished shard of this run."""

    checked: int
    faults: tuple[Fault, ...]
    leftovers: tuple[str, ...]
    removed: tuple[str, ...] = ()

    @property
    def is_clean(self) -> bool:
        """Whether there is no fault, and no leftover that was not removed."""
        return not self.faults and len(self.leftovers) == len(self.removed)

    def lines(self) -> list[str]:
        """The findings as lines of text."""
        kept = [path for path in self.leftovers if path not in self.removed]
        return [
            f"checked   {self.checked} shards, {len(self.faults)} faults, "
            f"{len(self.leftovers)} leftovers, {len(self.removed)} removed",
            *(f"fault     {fault.path}: {fault.problem}" for fault in self.faults),
            *(f"leftover  {path}" for path in kept),
            *(f"removed   {path}" for path in self.removed),
        ]


def verify_output(
    output: str, storage: Storage, *, sources: bool = True, clean: bool = False
) -> Verification:
    """Check every finished shard byte by byte; with `clean`, remove the leftovers."""
    output = normalise(output)
    record = read_run_record(storage, output)
    names = list_manifests(storage, output)
    ours = [name for name in names if name.identity8 == record.identity8]
    manifests = read_named_manifests(storage, output, ours)
    listed = {file.url for file in storage.list_files(output)}
    check = _Check(output, storage, record, listed, sources)
    with ThreadPoolExecutor(_CHECKERS) as pool:
        faults = [fault for found in pool.map(check.shard, manifests, ours) for fault in found]
    leftovers = _leftovers(output, listed, manifests, ours)
    removed = leftovers if clean else ()
    for path in removed:
        storage.delete(join(output, path))
    return Verification(len(manifests), tuple(faults), tuple(leftovers), tuple(removed))


@dataclass(frozen=True, slots=True)
class _Check:
    output: str
    storage: Storage
    record: RunRecord
    listed: set[str]
    sources: bool

    def shard(self, manifest: Manifest, name: ManifestName) -> list[Fault]:
        """Everything that is wrong with one finished shard."""
        try:
            manifest.check_balance()
        except PipelineError as error:
            return [Fault(name.path, str(error))]
        faults = [fault for file in _files_of(manifest) for fault in self._file(file)]
        return faults + (list(self._source(manifest)) if self.sources else [])

    def _file(self, file: WrittenFile) -> Iterator[Fault]:
        url = join(self.output, file.path)
        if url not in self.listed:
            yield Fault(file.path, "is missing")
            return
        content = self.storage.read_bytes(url)
        if len(content) != file.size_bytes:
            yield Fault(file.path, f"has {len(content)} bytes, not {file.size_bytes}")
        elif hashlib.sha256(content).hexdigest() != file.sha256:
            yield Fault(file.path, "has other content than its manifest says")
        else:
            yield from self._footer(file, content)

    def _footer(self, file: WrittenFile, content: bytes) -> Iterator[Fault]:
        metadata: Any = pq.read_metadata(io.BytesIO(content))
        if metadata.num_rows != file.rows:
            yield Fault(file.path, f"has {metadata.num_rows} rows, not {file.rows}")
        identity = (metadata.metadata or {}).get(IDENTITY_KEY, b"")
        digest = hashlib.sha256(identity).hexdigest()[:8]
        if digest != self.record.identity8:
            yield Fault(file.path, f"was made with identity {digest}, not {self.record.identity8}")

    def _source(self, manifest: Manifest) -> Iterator[Fault]:
        shown = redact(manifest.url)
        try:
            source = self.storage.file_info(manifest.url)
        except InputError:
            yield Fault(shown, "the source is gone or cannot be read")
            return
        before = (manifest.source_size_bytes, manifest.source_etag)
        if (source.size_bytes, source.etag) != before:
            yield Fault(shown, "the source was replaced since; redo it with `--redo-changed`")


def _files_of(manifest: Manifest) -> Sequence[WrittenFile]:
    return manifest.part, manifest.reject_file


def _leftovers(
    output: str,
    listed: set[str],
    manifests: Sequence[Manifest],
    names: Sequence[ManifestName],
) -> tuple[str, ...]:
    known = {file.path for manifest in manifests for file in _files_of(manifest)}
    known |= {name.path for name in names}
    paths = (url.removeprefix(output).lstrip("/") for url in listed)
    # Events and audits have no manifest: outside of these folders only temporary files count.
    ours = (path for path in paths if path.startswith(_FOLDERS) or is_temporary(path))
    return tuple(sorted(path for path in ours if path not in known))
