"""One export: check the request, plan it, write the shards that are left, and record all.

`jobs/export_job.py` calls `run_export`. Shards of an unshuffled export do not depend on each other:
`ShardExporter` writes any of them by itself, here or in a task of a cluster. A shuffled export goes
through this machine's disk (`shuffle.py`).
"""

import hashlib
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from functools import cached_property, partial
from importlib import metadata
from typing import Any, Literal

import numpy as np

from pipeline.errors import IdentityError, OutputError, UsageError
from pipeline.export.catalogue import find_format
from pipeline.export.contract import (
    Format,
    FormatOptions,
    Limits,
    Sample,
    Shard,
    ShardFiles,
    Target,
)
from pipeline.export.destination import LEASE_FOLDER, Destination, check_same_export
from pipeline.export.plan import ClusterBy, Cutter, Plan, PlannedShard, Planner
from pipeline.export.record import ExportRecord, SplitCounts
from pipeline.export.samples import SampleRules, read_chosen, samples_of
from pipeline.export.selection import Chooser, Selection, check_where
from pipeline.export.shuffle import Spool, shuffled_places
from pipeline.export.source import ExportedRun, PartReader, open_exported_run
from pipeline.export.splits import check_splits
from pipeline.fleet.lease import Lease, hold_lease
from pipeline.output.manifest import WrittenFile
from pipeline.plural import plural
from pipeline.storage.client import Storage
from pipeline.storage.location import normalise, redact
from pipeline.storage.streams import file_sha256
from xy_codec.codes_shape import CodesShape
from xy_codec.nearest_name import nearest

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ExportRequest:
    """What is exported, how and where to; `command` is recorded and never compared."""

    output: str
    destination: str
    format: str
    storage: Storage
    selection: Selection = Selection()
    options: FormatOptions = FormatOptions()
    columns: tuple[str, ...] = ()
    codebooks: int | None = None
    shuffle: int | None = None
    cluster_by: ClusterBy | None = None
    pair_reference: bool = False
    keep_text_spaces: bool = False
    duplicate_keys: Literal["refuse", "prefix"] = "refuse"
    allow_codec: bool = False
    samples_per_shard: int | None = None
    max_bytes: int | None = None
    command: str = ""

    @property
    def is_reordered(self) -> bool:
        """Whether rows come in another order than in the parts."""
        return self.shuffle is not None or self.cluster_by is not None


class Exporter:
    """A request with all that belongs to it; built once in each process."""

    def __init__(self, request: ExportRequest, run: ExportedRun | None = None) -> None:
        self.request = request
        self.storage = request.storage
        self.run = run or open_exported_run(request.storage, request.output)
        self.reader = PartReader(self.storage, self.run)
        self.format = self._format()
        self.rules = SampleRules(
            columns=tuple(self.format.target.columns),
            num_codebooks=self.format.shape.num_codebooks,
            pair_reference=request.pair_reference,
            keep_text_spaces=request.keep_text_spaces or self.format.keeps_rows,
            duplicate_keys=request.duplicate_keys,
            names_files=self.format.has_ids,
        )
        if self.run.is_merged and request.selection.keep:
            raise UsageError(
                f"`--keep` goes by shards, and the parts of `{redact(request.output)}` have rows "
                "of many; expected a run; merge it with `--keep`, then export what was merged"
            )
        self.chooser = Chooser(
            request.selection, self.run, self.storage, needs_text=self.format.needs_text
        )
        self.splits = tuple(request.selection.splits())
        _check_apart(request)
        self.destination = Destination(
            self.storage,
            request.destination,
            self.splits,
            in_one_folder=self.format.in_one_folder,
        )

    @property
    def limits(self) -> Limits:
        """When a shard is full: as asked for, else as the format has it."""
        own, request = self.format.limits, self.request
        if own == Limits(samples=None) and (request.samples_per_shard or request.max_bytes):
            raise UsageError(
                f"`--to {self.format.name}` with these options is one file; expected neither "
                "`--samples-per-shard` nor `--max-bytes`; leave them out"
            )
        return Limits(request.samples_per_shard or own.samples, request.max_bytes or own.size_bytes)

    @cached_property
    def identity(self) -> dict[str, Any]:
        """All that the bytes of the export depend on."""
        request, selection = self.request, self.request.selection
        tokenizer = self.format.target.tokenizer_json
        keep = file_sha256(selection.keep, self.storage) if selection.keep else None
        return {
            "format": request.format,
            "xytok": metadata.version("xytok"),
            "run": self.run.record.identity8,
            "parts": len(self.run.parts),
            "parts_sha256": self.run.parts_sha256,
            "dropped": self.run.dropped.num_clips,
            "options": asdict(replace(request.options, tokenizer=None)),
            "tokenizer_sha256": tokenizer and hashlib.sha256(tokenizer).hexdigest(),
            "selection": selection.identity(keep),
            "columns": list(self.rules.columns),
            "codebooks": self.rules.num_codebooks,
            "shuffle": request.shuffle,
            **({"cluster_by": request.cluster_by} if request.cluster_by else {}),
            "pair_reference": request.pair_reference,
            "keep_text_spaces": request.keep_text_spaces,
            "duplicate_keys": request.duplicate_keys,
            "limits": asdict(self.limits),
        }

    def plan(self) -> Plan:
        """The plan; reads the small columns of all parts."""
        where = self.request.selection.where
        if where:
            light = [n for n in self.reader.columns().names if n not in ("codes", "side")]
            tables = (self.reader.read(group, light) for group in self.reader.groups())
            check_where(where, tables)
        plan = Planner(
            self.run,
            self.reader,
            self.chooser,
            self.format,
            self.rules,
            self.limits,
            dedup=self.request.selection.dedup,
            is_shuffled=self.request.shuffle is not None,
            cluster_by=self.request.cluster_by,
        ).plan()
        clips = {name: plan.clips_in(number) for number, name in enumerate(self.splits)}
        selection = self.request.selection
        check_splits(
            *(selection.splits(), clips, len(plan.speakers)),
            may_be_empty=selection.allow_empty_split,
        )
        return plan

    def _format(self) -> Format:
        request = self.request
        kind = find_format(request.format)
        _check_options(kind, request)
        whole = CodesShape.of(self.run.record.identity["codec"])
        kept = request.codebooks or whole.num_codebooks
        if kept > whole.num_codebooks or (kept < whole.num_codebooks and not whole.prefixes_decode):
            raise UsageError(
                f"`--codebooks {kept}` cannot be used: the run has {whole.codebooks_in_words()}"
                + ("" if whole.prefixes_decode else ", which decode only together")
                + f"; expected at most {whole.num_codebooks}; leave the option out for all"
            )
        tokenizer = request.options.tokenizer
        made = kind(
            Target(
                shape=replace(whole, codebook_sizes=whole.codebook_sizes[:kept]),
                identity=self.run.record.identity,
                codec_source=self.run.record.provenance.get("codec_source") or "",
                options=request.options,
                columns=self._columns(every=kind.keeps_rows),
                with_reference=request.pair_reference,
                tokenizer_json=self.storage.read_bytes(tokenizer) if tokenizer else None,
            )
        )
        made.check_destination(request.destination)
        fault = made.other_codec()
        if fault and not request.allow_codec:
            raise IdentityError(
                f"`--to {request.format}` is meant for another codec: {fault}; expected codes that "
                "the trainer's model knows, because a trainer takes others without a word; "
                "tokenize with that codec, or pass `--allow-codec` if you know what you train"
            )
        return made

    def _columns(self, *, every: bool) -> Mapping[str, Any]:
        schema = self.reader.columns()
        wanted = schema.names if every else self.request.columns
        for name in wanted:
            if name not in schema.names:
                raise UsageError(
                    f"`--columns {name}` is no column of the parts; expected "
                    f"{nearest(name, schema.names)}; `xytok card` lists them"
                )
        return {name: schema.field(name).type for name in wanted if name != "codes"}


def _check_apart(request: ExportRequest) -> None:
    """Refuse to write among the files of the run, where tools would take them for its own."""
    run, destination = (f"{normalise(url)}/" for url in (request.output, request.destination))
    if destination.startswith(run):
        raise UsageError(
            f"`{redact(request.destination)}` lies in the run `{redact(request.output)}`; expected "
            "a folder outside of the run; name another one"
        )


def _check_options(kind: type[Format], request: ExportRequest) -> None:
    """Refuse options that the format would ignore."""
    given, plain = request.options, FormatOptions()
    names = [n for n in asdict(plain) if getattr(given, n) != getattr(plain, n)]
    ignored = [name for name in names if name not in kind.options]
    ignored += ["pair_reference"] if request.pair_reference and not kind.takes_reference else []
    ignored += ["columns"] if request.columns and not kind.takes_columns else []
    if ignored:
        flags = ", ".join(f"`--{name.replace('_', '-')}`" for name in ignored)
        raise UsageError(
            f"`--to {kind.name}` has no use for {flags}; expected options of the format; leave "
            "them out, or export to another one"
        )


class ShardExporter:
    """Writes planned shards, each by itself."""

    def __init__(self, exporter: Exporter, plan: Plan) -> None:
        self._exporter = exporter
        self._plan = plan

    def write(self, shard: PlannedShard) -> int:
        """Write one shard; how many samples it has."""
        write_shard(self._exporter, shard.split, shard.number, self._samples(shard))
        return shard.samples

    def _samples(self, shard: PlannedShard) -> Iterator[Sample]:
        exporter, left, skip = self._exporter, shard.samples, shard.skip
        for table in chosen_tables(exporter, self._plan, shard.split, shard.group):
            part = table.slice(skip, left)
            yield from samples_of(part, exporter.rules)
            left, skip = left - part.num_rows, 0
            if not left:
                return


def chosen_tables(
    exporter: Exporter, plan: Plan, split: int, first_group: int = 0
) -> Iterator[Any]:
    """The rows of a split as tables, a row group at a time."""
    known = exporter.reader.columns().names
    light = exporter.chooser.columns(known)
    for group in plan.groups[first_group:]:
        fate = exporter.chooser.choose(exporter.reader.read(group, light), group, plan.same_audio)
        rows = np.flatnonzero(fate == split)
        yield read_chosen(exporter.reader, exporter.run, group, rows, exporter.rules)


def write_shard(exporter: Exporter, split: int, number: int, samples: Iterable[Sample]) -> None:
    """Write the files of one output shard and mark it as done."""
    files, count = ShardFiles(number, exporter.splits[split]), _Counted(samples)
    try:
        exporter.format.write_shard(count, files)
        exporter.destination.publish(split, files, count.samples, count.seconds)
    finally:
        files.close()


class _Counted:
    """Samples that are counted while a format takes them."""

    def __init__(self, samples: Iterable[Sample]) -> None:
        self._samples = samples
        self.samples = 0
        self.seconds = 0.0

    def __iter__(self) -> Iterator[Sample]:
        for sample in self._samples:
            self.samples += 1
            self.seconds += sample.duration
            yield sample


# Writes planned shards in any order; the samples of each as it is done.
WriteShards = Callable[[ExportRequest, ExportedRun, Plan, Sequence[PlannedShard]], Iterator[int]]


def run_export(
    request: ExportRequest,
    show_for: Callable[[int], Any] | None = None,
    write_shards: WriteShards | None = None,
) -> ExportRecord:
    """Export a run; what `export.json` says.

    Args:
        show_for: gives for the number of samples a context whose value shows how many are done.
        write_shards: writes the shards elsewhere than here, see `ray_map.py`.
    """
    if write_shards and request.is_reordered:
        raise UsageError(
            f"`--{'shuffle' if request.cluster_by is None else 'cluster-by'}` goes through the "
            "disk of one machine; expected it with `--engine inline`; leave one or the other out"
        )
    exporter = Exporter(request)
    record = _ended(exporter)
    if record is None:
        plan = exporter.plan()
        # Only now, so that a request that is refused leaves nothing behind.
        url = exporter.destination.url
        with hold_lease(request.storage, url, wait=None, folder=LEASE_FOLDER) as lease:
            # Another command may have written all until the lease was taken.
            record = _ended(exporter) or _export_alone(
                exporter, plan, lease, show_for, write_shards
            )
    exporter.destination.clean()
    return record


def _ended(exporter: Exporter) -> ExportRecord | None:
    """The record of the same export that ended; raises where another export has the folder."""
    ended = exporter.destination.read_record()
    if ended is not None:
        check_same_export(exporter.destination.url, ended.request, exporter.identity)
    return ended


def _export_alone(
    exporter: Exporter,
    plan: Plan,
    lease: Lease,
    show_for: Callable[[int], Any] | None,
    write_shards: WriteShards | None,
) -> ExportRecord:
    destination = exporter.destination
    destination.claim(exporter.identity)
    if unfit := plan.left_out["where_other_type"]:
        logger.warning(
            "%s left out by `--where`: %s",
            plural(unfit, "clip is", "clips are"),
            exporter.chooser.unfit_types(),
        )
    done = destination.finished_shards()
    if exporter.request.is_reordered:
        shards = _write_reordered(exporter, plan, done)
    else:
        shards = _write_planned(exporter, plan, done, write_shards or _write_here)
    with show_for(plan.clips) if show_for else nullcontext() as show:
        total = 0
        for samples in shards:
            lease.may_go_on()
            total += samples
            if show:
                show(total, "")
    record = _finish(exporter, plan)
    lease.may_go_on()
    destination.finish(record)
    return record


def _write_planned(
    exporter: Exporter, plan: Plan, done: set[tuple[int, int]], write_shards: WriteShards
) -> Iterator[int]:
    """The samples of shards, those first that were done before."""
    left = [shard for shard in plan.shards if (shard.split, shard.number) not in done]
    yield plan.clips - sum(shard.samples for shard in left)
    yield from write_shards(exporter.request, exporter.run, plan, left)


def _write_here(
    request: ExportRequest, run: ExportedRun, plan: Plan, shards: Sequence[PlannedShard]
) -> Iterator[int]:
    writer = ShardExporter(Exporter(request, run), plan)
    return map(writer.write, shards)


def _write_reordered(exporter: Exporter, plan: Plan, done: set[tuple[int, int]]) -> Iterator[int]:
    """The same in another order; what is done is read again, but not written again."""
    seed = exporter.request.shuffle
    places = plan.places_of if seed is None else partial(shuffled_places, seed=seed)
    with Spool(places, plan.size_bytes) as spool:
        for split in sorted(plan.counts):
            for table in chosen_tables(exporter, plan, split):
                spool.add(split, table)
        for split in sorted(plan.counts):
            tables = spool.read(split)
            samples = (each for table in tables for each in samples_of(table, exporter.rules))
            for number, shard in enumerate(_cut(samples, exporter)):
                if (split, number) in done:
                    yield sum(1 for _ in shard)
                else:
                    counted = _Counted(shard)
                    write_shard(exporter, split, number, counted)
                    yield counted.samples


def _cut(samples: Iterator[Sample], exporter: Exporter) -> Iterator[Iterator[Sample]]:
    """Samples in shards; each must be taken whole before the next is asked for."""
    cutter = Cutter(exporter.limits)
    ahead = next(samples, None)
    if ahead is not None:
        cutter.begins(_size(ahead, exporter))

    def one_shard() -> Iterator[Sample]:
        nonlocal ahead
        while ahead is not None:
            current, ahead = ahead, next(samples, None)
            is_last = ahead is None or cutter.begins(_size(ahead, exporter))
            yield current
            if is_last:
                return

    while ahead is not None:
        yield one_shard()


def _size(sample: Sample, exporter: Exporter) -> int:
    text_bytes = len((sample.text or "").encode())
    return exporter.format.sample_bytes(sample.codes.shape[1], text_bytes)


def _finish(exporter: Exporter, plan: Plan) -> ExportRecord:
    """Write the files that speak of all shards; what `export.json` says."""
    destination, by_split = exporter.destination, _shards_by_split(exporter)
    _check_whole(exporter, plan, by_split)
    small: dict[str, bytes] = {}
    folders = {
        name: f"{destination.url}/{destination.folder_of(n)}".rstrip("/")
        for n, name in enumerate(exporter.splits)
        if n in by_split
    }
    for split, shards in by_split.items():
        found = exporter.format.finish(folders[exporter.splits[split]], shards)
        small |= {f"{destination.folder_of(split)}{name}": found[name] for name in found}
    small |= exporter.format.finish_all(folders)
    written = [destination.write_small(path, content) for path, content in small.items()]
    files = [file for shards in by_split.values() for shard in shards for file in shard.files]
    facts: Counter[str] = Counter()
    for shard in (shard for shards in by_split.values() for shard in shards):
        facts.update(shard.facts)
    return _record(exporter, plan, tuple(files + written), facts)


def _check_whole(exporter: Exporter, plan: Plan, by_split: Mapping[int, list[Shard]]) -> None:
    written = {split: sum(shard.samples for shard in by_split[split]) for split in by_split}
    expected = {split: count.clips for split, count in plan.counts.items()}
    if written != expected:
        url = redact(exporter.destination.url)
        raise OutputError(
            f"`{url}` has records of {plural(sum(written.values()), 'clip')}, {plan.clips} were "
            "to be "
            "exported; expected all, and no other command that works in this folder; run the same "
            "command again"
        )


def _shards_by_split(exporter: Exporter) -> dict[int, list[Shard]]:
    by_split: dict[int, list[Shard]] = {}
    for split, number in sorted(exporter.destination.finished_shards()):
        by_split.setdefault(split, []).append(exporter.destination.read_shard(split, number))
    return by_split


def _record(
    exporter: Exporter, plan: Plan, files: tuple[WrittenFile, ...], facts: Mapping[str, int]
) -> ExportRecord:
    shape, made, run = exporter.format.shape, exporter.format, exporter.run
    codes = sum(count.frames for count in plan.counts.values()) * shape.num_codebooks
    return ExportRecord(
        format=made.name,
        layout=made.layout,
        offsets=made.offsets,
        num_codebooks=shape.num_codebooks,
        codebook_sizes=shape.codebook_sizes,
        frame_rate_hz=shape.frame_rate_hz,
        samples_per_frame=shape.samples_per_frame,
        input_rate_hz=shape.input_rate_hz,
        output_rate_hz=shape.output_rate_hz,
        clips=plan.clips,
        seconds=sum(count.seconds for count in plan.counts.values()),
        splits={name: plan.counts.get(n, SplitCounts()) for n, name in enumerate(exporter.splits)},
        left_out=dict(sorted(plan.left_out.items())),
        facts=facts,
        trainer_ram_bytes=round(made.ram_bytes_per_code * codes),
        files=files,
        output=redact(run.output),
        identity=run.record.identity,
        provenance=run.record.provenance,
        request=exporter.identity,
        command=exporter.request.command,
    )
