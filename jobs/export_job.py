"""`xytok export`: the codes of a run in the files that a trainer reads."""

import shlex
import sys
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter
from pydantic import Field
from pydantic.dataclasses import dataclass

from jobs.logs import Log, LogOptions
from jobs.options import Run, StorageOptions, flags, open_storage
from pipeline.corpus.rules import Size
from pipeline.export.contract import FormatOptions
from pipeline.export.selection import Selection
from pipeline.plural import plural

if TYPE_CHECKING:
    from pipeline.export.exporter import ExportRequest
    from pipeline.export.record import ExportRecord

_GIB = 1 << 30
_Format = Annotated[FormatOptions, flags("Format")]
Which = Annotated[Selection, flags("Which clips")]
ExportEngine = Annotated[
    Literal["inline", "ray"],
    Parameter(help="write in this process, or by tasks on a Ray cluster."),
]


@dataclass(frozen=True, slots=True)
class SampleOptions:
    """What a sample holds and how samples are spread over files.

    Attributes:
        columns: further columns of the parts, with commas between them, for formats that take some.
        codebooks: only the first N codebooks.
        pair_reference: give each clip another clip of its speaker as a prompt, from the same row
            group; a clip that is alone has none.
        keep_text_spaces: leave white space around texts, which Emilia's have in front.
        duplicate_keys: `refuse` keys that name two clips, or `prefix` all with their shard's path
            (its whole address in what was merged).
        shuffle: mix the clips of all shards by this seed; needs disk for all codes.
        samples_per_shard: clips of an output file; default: the format's.
        max_bytes: begin a new output file at about this size, e.g. `512M`; default: the format's.
        allow_codec: export codes that the trainer's released models do not know.
    """

    columns: str = ""
    codebooks: Annotated[int, Field(ge=1)] | None = None
    pair_reference: bool = False
    keep_text_spaces: bool = False
    duplicate_keys: Literal["refuse", "prefix"] = "refuse"
    shuffle: Annotated[int, Field(ge=0)] | None = None
    samples_per_shard: Annotated[int, Field(ge=1)] | None = None
    max_bytes: Size | None = None
    allow_codec: bool = False


_Samples = Annotated[SampleOptions, flags("Samples")]


def export(
    run: Run,
    destination: Annotated[str, Parameter(help="the folder to write, a path or URL.")],
    /,
    *,
    to: Annotated[
        str,
        Parameter(
            help="omnivoice, moss-ttsd, jsonl, shar, flat, megatron, datatrove, parquet, fish, "
            "mds, webdataset or parts. All were opened by the trainer's own reader but moss-ttsd, "
            "jsonl, fish and LLaSA, which follow its code: see the README."
        ),
    ],
    selection: Which = Selection(),
    samples: _Samples = SampleOptions(),
    options: _Format = FormatOptions(),
    push_to_hub: Annotated[
        str | None,
        Parameter(help="put a Parquet export into this dataset repository, OWNER/NAME, too."),
    ] = None,
    licence: Annotated[str, Parameter(help="the licence of the speech, for the hub.")] = "other",
    title: Annotated[str, Parameter(help="the name of the data set there.")] = "Speech codes",
    engine: ExportEngine = "inline",
    storage_options: StorageOptions = None,
    log: Log = LogOptions(),
) -> int:
    """Export and say what came out."""
    from pipeline.export.exporter import ExportRequest
    from pipeline.export.hub import check_push
    from pipeline.export.hub import push_to_hub as push

    if push_to_hub:
        check_push(to, destination)
    request = ExportRequest(
        output=run,
        destination=destination,
        format=to,
        storage=open_storage(storage_options),
        selection=selection,
        options=options,
        columns=tuple(name.strip() for name in samples.columns.split(",") if name.strip()),
        codebooks=samples.codebooks,
        shuffle=samples.shuffle,
        pair_reference=samples.pair_reference,
        keep_text_spaces=samples.keep_text_spaces,
        duplicate_keys=samples.duplicate_keys,
        allow_codec=samples.allow_codec,
        samples_per_shard=samples.samples_per_shard,
        max_bytes=samples.max_bytes,
        command=shlex.join(["xytok", *sys.argv[1:]]),
    )
    record = run_with_progress(request, engine, quiet=log.quiet)
    print_record(request, record)
    if push_to_hub:
        print(f"pushed    {push(record, destination, push_to_hub, licence=licence, title=title)}")
    return 0


def run_with_progress(request: "ExportRequest", engine: str, *, quiet: bool) -> "ExportRecord":
    """Run an export and show how far it is."""
    from pipeline.export.export import run_export
    from pipeline.export.ray_map import write_on_ray
    from pipeline.fleet.progress import show_progress

    return run_export(
        request,
        lambda total: show_progress(total, " clips", quiet=quiet),
        write_on_ray if engine == "ray" else None,
    )


def print_record(request: "ExportRequest", record: "ExportRecord") -> None:
    """Say what came out of an export."""
    from pipeline.export.splits import split_words

    print(
        f"exported  {plural(record.clips, 'clip')}, {record.seconds / 3600:.2f} h: "
        f"{record.size_bytes} bytes "
        f"in {plural(len(record.files), 'file')}; layout {record.layout}"
    )
    if len(record.splits) > 1:
        clips = {name: each.clips for name, each in record.splits.items()}
        print(f"splits    {split_words(request.selection.splits(), clips)}")
    if record.left_out:
        reasons = (f"{count} {reason}" for reason, count in record.left_out.items())
        print(f"left out  {', '.join(reasons)}")
    if request.pair_reference:
        paired = sum(each.with_reference for each in record.splits.values())
        print(f"pairs     {paired} of {plural(record.clips, 'clip has', 'clips have')} a reference")
    for name, count in record.facts.items():
        print(f"{name:9} {plural(count, 'clip')}")
    if record.trainer_ram_bytes:
        print(
            f"memory    the trainer loads all codes at its start: about "
            f"{record.trainer_ram_bytes / _GIB:.1f} GiB of RAM in each of its processes"
        )
    print(f"record    {request.destination.rstrip('/')}/export.json")
