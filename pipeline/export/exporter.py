"""A request with all that belongs to it: the run, the format, the rules, the plan, the folder."""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from importlib import metadata
from typing import Any, Literal

from pipeline.corpus.listing import check_outside_outputs
from pipeline.errors import IdentityError, UsageError
from pipeline.export.catalogue import find_format
from pipeline.export.contract import (
    Format,
    FormatOptions,
    Limits,
    Target,
)
from pipeline.export.destination import Destination
from pipeline.export.plan import ClusterBy, Plan, Planner
from pipeline.export.samples import SampleRules
from pipeline.export.selection import Chooser, Selection, check_where
from pipeline.export.source import ExportedRun, PartReader, open_exported_run
from pipeline.export.splits import check_splits
from pipeline.storage.client import Storage
from pipeline.storage.location import normalise, redact
from pipeline.storage.streams import file_sha256
from xy_codec.codes_shape import CodesShape
from xy_codec.nearest_name import nearest


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
    """Refuse to write among the files of a run, where tools would take them for its own."""
    run, destination = normalise(request.output), normalise(request.destination)
    if f"{destination}/".startswith(f"{run}/"):
        raise UsageError(
            f"`{redact(request.destination)}` lies in the run `{redact(request.output)}`; expected "
            "a folder outside of the run; name another one"
        )
    check_outside_outputs(destination, request.storage)


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
