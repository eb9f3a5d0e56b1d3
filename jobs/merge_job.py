"""`xytok merge`: the parts of a run as few large ones."""

import shlex
import sys
from typing import Annotated, Literal

from cyclopts import Parameter
from pydantic.dataclasses import dataclass

from jobs.export_job import ExportEngine, Which, print_record, run_with_progress
from jobs.logs import Log, LogOptions
from jobs.options import Run, StorageOptions, flags, open_storage
from pipeline.corpus.rules import Size
from pipeline.export.selection import Selection


@dataclass(frozen=True, slots=True)
class Files:
    """How rows are spread over files.

    Attributes:
        max_bytes: begin a new file at about this size, e.g. `512M`.
        cluster_by: put clips of one language, or of about one length, side by side.
    """

    max_bytes: Size = 512_000_000
    cluster_by: Literal["language", "length"] | None = None


def merge(
    run: Run,
    destination: Annotated[str, Parameter(help="the folder to write, a path or URL.")],
    /,
    *,
    selection: Which = Selection(),
    files: Annotated[Files, flags("Files")] = Files(),
    engine: ExportEngine = "inline",
    storage_options: StorageOptions = None,
    log: Log = LogOptions(),
) -> int:
    """Merge and say what came out."""
    from pipeline.export.exporter import ExportRequest

    request = ExportRequest(
        output=run,
        destination=destination,
        format="parts",
        storage=open_storage(storage_options),
        selection=selection,
        cluster_by=files.cluster_by,
        max_bytes=files.max_bytes,
        command=shlex.join(["xytok", *sys.argv[1:]]),
    )
    print_record(request, run_with_progress(request, engine, quiet=log.quiet))
    return 0
