"""Verifies an output: every file and source against its manifest, and which files belong to none.

`xytok verify` calls it. It reads every byte of parts and rejects, or with `quick` none, but decodes
nothing: whether the codes are right is the question of the audit.
"""

import hashlib
import io
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import pyarrow.parquet as pq

from pipeline.corpus.audio_list import changed_files, list_etag, read_list
from pipeline.corpus.listing import look_up
from pipeline.corpus.shard import (
    LIST_SUFFIX,
    both_etags,
    cuts_of,
    has_cuts,
    list_path,
    part_path,
    reject_path,
    stem_of,
)
from pipeline.corpus.tar_reader import Hole
from pipeline.errors import InputError, OutputError, RefusedError
from pipeline.fleet.lease import hold_lease
from pipeline.fleet.progress import show_progress
from pipeline.inspect.damage import DAMAGE_COLUMNS, Damage
from pipeline.output.dropped import DROPPED, read_lists
from pipeline.output.index import read_shards
from pipeline.output.manifest import (
    MANIFESTS,
    UNKNOWN_SIZE,
    Manifest,
    ManifestName,
    WrittenFile,
    read_manifest,
)
from pipeline.output.parquet_layout import IDENTITY_KEY
from pipeline.output.retries import RETRIES, finished_in, places_of, prefix_of
from pipeline.output.run_record import RunRecord, read_run_record
from pipeline.plural import plural
from pipeline.storage.client import Storage
from pipeline.storage.local_write import is_temporary
from pipeline.storage.location import join, normalise, redact

_CHECKERS = 8
_AT_A_TIME = 1024
_SIZE_COLUMNS = (
    *("part_path", "part_size_bytes"),
    *("reject_file_path", "reject_file_size_bytes"),
)
_REDO = (
    "delete the manifest of each faulty shard (`manifests/…` of the same name) and run the same "
    "command again: it makes these shards anew"
)
_REPLACE = (
    "no file of the output is wrong; to have the missing clips, replace these sources and pass "
    "`--redo-changed`"
)
_FOLDERS = ("tokens/", "rejects/", f"{MANIFESTS}/", "lists/")


@dataclass(frozen=True, slots=True)
class Fault:
    """A file or source that is not as its manifest says."""

    path: str
    problem: str


@dataclass(frozen=True, slots=True)
class Verification:
    """What was found; leftovers are files that belong to no finished shard of this run.

    `damaged` sources are no fault of the output: their manifests tell of it.
    """

    checked: int
    faults: tuple[Fault, ...]
    leftovers: tuple[str, ...]
    removed: tuple[str, ...] = ()
    damaged: tuple[Damage, ...] = ()

    @property
    def is_clean(self) -> bool:
        """Whether there is no fault, and no leftover that was not removed."""
        return not self.faults and len(self.leftovers) == len(self.removed)

    def lines(self) -> list[str]:
        """The findings as lines of text."""
        kept = [path for path in self.leftovers if path not in self.removed]
        return [
            f"checked   {plural(self.checked, 'shard')}, {plural(len(self.faults), 'fault')}, "
            f"{plural(len(self.leftovers), 'leftover')}, {len(self.removed)} removed"
            + (f", {plural(len(self.damaged), 'damaged source')}" if self.damaged else ""),
            *(f"fault     {fault.path}: {fault.problem}" for fault in self.faults),
            *(f"leftover  {path}" for path in kept),
            *(f"removed   {path}" for path in self.removed),
            *(f"damaged   {damage}" for damage in self.damaged),
            *([f"to do     {_REDO}"] if self.faults else []),
            *([f"to do     {_REPLACE}"] if self.damaged else []),
        ]


def verify_output(
    output: str,
    storage: Storage,
    *,
    sources: bool = True,
    clean: bool = False,
    quick: bool = False,
    quiet: bool = False,
) -> Verification:
    """Check every finished shard byte by byte.

    Args:
        sources: Look also whether the shards are still those that were tokenized.
        clean: Remove the leftovers; raises where a run works on the output.
        quick: Compare only names and sizes of files, as listings have them; no source.
        quiet: Show no progress.
    """
    output = normalise(output)
    checked = 0
    faults: list[Fault] = []
    leftovers: list[str] = []
    damaged: list[Damage] = []
    known: set[str] = set()
    identity8 = read_run_record(storage, output).identity8
    # Manifests are listed first: the files that they name were written before them.
    finished = list(finished_in(storage, output, identity8))
    files = storage.list_files(output)
    for place, names in finished:
        inside = join(output, place.prefix)
        sizes = {
            file.url.removeprefix(inside).lstrip("/"): file.size_bytes
            for file in files
            if file.url.startswith(inside)
        }
        # A retry reads the same sources as the shards around it.
        looks = sources and not place.prefix
        found, paths = _verify_place(
            place.url, storage, names, sizes, sources=looks, quick=quick, quiet=quiet
        )
        checked += found.checked
        faults += (replace(each, path=f"{place.prefix}{each.path}") for each in found.faults)
        leftovers += (f"{place.prefix}{path}" for path in found.leftovers)
        damaged += () if place.prefix else found.damaged
        known.update(f"{place.prefix}{path}" for path in paths)
    faults += _dropped_faults(output, storage, known)
    removed: tuple[str, ...] = ()
    if clean and leftovers:
        removed = tuple(_remove(output, storage, identity8, leftovers))
        leftovers = list(removed)
    return Verification(checked, tuple(faults), tuple(leftovers), removed, tuple(damaged))


def _remove(
    output: str, storage: Storage, identity8: str, leftovers: Sequence[str]
) -> Iterator[str]:
    """Remove files, but those that a manifest names by now; nobody else may be at work there."""
    with ExitStack() as leases:
        for place in places_of(storage, output):
            # A run writes a part before its manifest: in between the part looks left over.
            if any(prefix_of(path) == place.prefix for path in leftovers):
                leases.enter_context(hold_lease(storage, place.url, wait=None))
        known = {
            f"{place.prefix}{path}"
            for place, names in finished_in(storage, output, identity8)
            for name in names
            for path in (name.path, *_paths_of(name.stem))
        }
        for path in leftovers:
            if path not in known:
                storage.delete(join(output, path))
                yield path


def _paths_of(stem: str) -> tuple[str, str, str]:
    return part_path(stem), reject_path(stem), list_path(stem)


def _verify_place(
    output: str,
    storage: Storage,
    names: Sequence[ManifestName],
    sizes: Mapping[str, int],
    *,
    sources: bool,
    quick: bool,
    quiet: bool,
) -> tuple[Verification, set[str]]:
    """What is found in one output, and the paths that its manifests name."""
    record = read_run_record(storage, output)
    with show_progress(len(names), " shards", quiet=quiet) as show:
        if quick:
            found = _compare_sizes(output, storage, names, sizes)
        else:
            found = _check_bytes(_Check(output, storage, record, sizes, sources), names)
        faults: list[Fault] = []
        damaged: list[Damage] = []
        known: set[str] = {path for name in names for path in (name.path, list_path(name.stem))}
        for done, shard in enumerate(found, 1):
            known.update(shard.paths)
            faults += shard.faults
            damaged += [shard.damage] if shard.damage else []
            show(done, plural(len(faults), "fault"))
    # Events and audits have no manifest: outside of these folders only temporary files count.
    inside = f"{RETRIES}/"
    ours = (
        path
        for path in sizes
        if path.startswith(_FOLDERS) or (is_temporary(path) and not path.startswith(inside))
    )
    leftovers = tuple(sorted(path for path in ours if path not in known))
    return Verification(len(names), tuple(faults), leftovers, damaged=tuple(damaged)), known


def _dropped_faults(output: str, storage: Storage, known: Collection[str]) -> Iterator[Fault]:
    """What is wrong with the lists of dropped clips."""
    try:
        lists = read_lists(storage, output)
    except OutputError as error:
        yield Fault(DROPPED, str(error))
        return
    for each in lists:
        for part in sorted({row["part"] for row in each.rows} - set(known)):
            yield Fault(each.path, f"names `{part}`, which no manifest does")


@dataclass(frozen=True, slots=True)
class _Checked:
    """The files of a shard, what is wrong with them, and what could not be read of its source."""

    paths: Sequence[str]
    faults: Sequence[Fault]
    damage: Damage | None = None


def _compare_sizes(
    output: str, storage: Storage, names: Sequence[ManifestName], sizes: Mapping[str, int]
) -> Iterator[_Checked]:
    for shards in read_shards(storage, output, names, (*_SIZE_COLUMNS, *DAMAGE_COLUMNS)):
        for row in shards.to_pylist():
            part, part_bytes, rejects, rejects_bytes = (row[name] for name in _SIZE_COLUMNS)
            files = {part: part_bytes, rejects: rejects_bytes}
            if row["shard"].endswith(LIST_SUFFIX):
                files[list_path(stem_of(row["shard"]))] = UNKNOWN_SIZE
            faults = (_size_fault(path, sizes.get(path), size) for path, size in files.items())
            row["holes"] = [Hole(**hole) for hole in row["holes"]]
            damage = Damage.of(*(row[name] for name in DAMAGE_COLUMNS))
            yield _Checked(tuple(files), [fault for fault in faults if fault], damage)


def _size_fault(path: str, found: int | None, wanted: int) -> Fault | None:
    if found is None:
        return Fault(path, "is missing")
    if UNKNOWN_SIZE in (found, wanted) or found == wanted:
        return None
    return Fault(path, f"has {found} bytes, not {wanted}")


def _check_bytes(check: "_Check", names: Sequence[ManifestName]) -> Iterator[_Checked]:
    with ThreadPoolExecutor(_CHECKERS) as pool:
        # A few shards at a time, so that memory does not grow with the output.
        for start in range(0, len(names), _AT_A_TIME):
            yield from pool.map(check.shard, names[start : start + _AT_A_TIME])


@dataclass(frozen=True, slots=True)
class _Check:
    output: str
    storage: Storage
    record: RunRecord
    sizes: Mapping[str, int]
    sources: bool

    def shard(self, name: ManifestName) -> _Checked:
        """The files of one finished shard, and everything that is wrong with it."""
        paths = [part_path(name.stem), reject_path(name.stem)]
        try:
            manifest = read_manifest(self.storage, join(self.output, name.path))
            manifest.check_balance()
        except OutputError as error:
            return _Checked(paths, [Fault(name.path, str(error))])
        files = (manifest.part, manifest.reject_file)
        faults = [fault for file in files for fault in self._file(file)]
        if manifest.shard.endswith(LIST_SUFFIX):
            faults += self._list(manifest, list_path(name.stem))
        elif self.sources:
            faults += self._source(manifest)
        damage = Damage.of(*(getattr(manifest, column) for column in DAMAGE_COLUMNS))
        return _Checked(paths, faults, damage and replace(damage, url=redact(damage.url)))

    def _list(self, manifest: Manifest, path: str) -> Iterator[Fault]:
        if path not in self.sizes:
            yield Fault(path, "is missing")
            return
        listed = self.storage.read_bytes(join(self.output, path))
        if list_etag(listed) != manifest.source_etag:
            yield Fault(path, "has other content than its manifest says")
        elif self.sources:
            find = partial(look_up, storage=self.storage)
            for url in changed_files(read_list(listed), manifest.url, find):
                problem = "the source is gone or was replaced since; redo it with `--redo-changed`"
                yield Fault(redact(url), problem)

    def _file(self, file: WrittenFile) -> Iterator[Fault]:
        fault = _size_fault(file.path, self.sizes.get(file.path), file.size_bytes)
        if fault:
            yield fault
            return
        content = self.storage.read_bytes(join(self.output, file.path))
        if hashlib.sha256(content).hexdigest() != file.sha256:
            yield Fault(file.path, "has other content than its manifest says")
        else:
            yield from self._footer(file, content)

    def _footer(self, file: WrittenFile, content: bytes) -> Iterator[Fault]:
        metadata: Any = pq.read_metadata(io.BytesIO(content))
        if metadata.num_rows != file.rows:
            yield Fault(file.path, f"has {plural(metadata.num_rows, 'row')}, not {file.rows}")
        identity = (metadata.metadata or {}).get(IDENTITY_KEY, b"")
        digest = hashlib.sha256(identity).hexdigest()[:8]
        if digest != self.record.identity8:
            yield Fault(file.path, f"was made with identity {digest}, not {self.record.identity8}")

    def _source(self, manifest: Manifest) -> Iterator[Fault]:
        shown = redact(manifest.url)
        try:
            source = self.storage.file_info(manifest.url)
        except (InputError, RefusedError):
            yield Fault(shown, "the source is gone or cannot be read")
            return
        etag = source.etag
        if has_cuts(manifest.source_etag):
            cuts = look_up([cuts_of(manifest.url)], self.storage)[cuts_of(manifest.url)]
            etag = both_etags(etag, cuts.etag if cuts else "")
        before = (manifest.source_size_bytes, manifest.source_etag)
        if (source.size_bytes, etag) != before:
            yield Fault(shown, "the source was replaced since; redo it with `--redo-changed`")
