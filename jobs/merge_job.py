"""`xytok merge`: the parts of a run as few large ones."""

import re
import shlex
import sys
from typing import Annotated, Literal

from cyclopts import Parameter

from jobs.export_job import ExportEngine, Which, print_record, run_with_progress
from jobs.logs import Log, LogOptions
from jobs.options import Run, StorageOptions, open_storage
from pipeline.export.selection import Selection

_SIZE = re.compile(r"(\d+)([KMG]?)\Z", re.IGNORECASE)
_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9}


def merge(
    run: Run,
    destination: Annotated[str, Parameter(help="the folder to write, a path or URL.")],
    /,
    *,
    selection: Which = Selection(),
    max_bytes: Annotated[
        str, Parameter(help="begin a new file at about this size, such as 512M.")
    ] = "512M",
    cluster_by: Annotated[
        Literal["language", "length"] | None,
        Parameter(help="put clips of one language, or of about one length, side by side."),
    ] = None,
    engine: ExportEngine = "inline",
    storage_options: StorageOptions = None,
    log: Log = LogOptions(),
) -> int:
    """Merge and say what came out."""
    from pipeline.export.export import ExportRequest

    request = ExportRequest(
        output=run,
        destination=destination,
        format="parts",
        storage=open_storage(storage_options),
        selection=selection,
        cluster_by=cluster_by,
        max_bytes=_bytes(max_bytes),
        command=shlex.join(["xytok", *sys.argv[1:]]),
    )
    print_record(request, run_with_progress(request, engine, quiet=log.quiet))
    return 0


def _bytes(words: str) -> int:
    from pipeline.errors import UsageError

    found = _SIZE.match(words)
    if not found or not int(found[1]):
        raise UsageError(
            f"`--max-bytes {words}` is no size; expected a number above 0 with K, M, G or nothing "
            "behind it; write for example `--max-bytes 512M`"
        )
    return int(found[1]) * _UNITS[found[2].upper()]
