"""`xytok index`: what all manifests say in one file, so that tools need not read each of them."""

from typing import Annotated

from cyclopts import Parameter

from jobs.logs import Log, LogOptions
from jobs.options import Run, StorageOptions, open_storage


def index(
    run: Run,
    /,
    *,
    rebuild: Annotated[
        bool, Parameter(help="read every manifest, also those that the index has.")
    ] = False,
    storage_options: StorageOptions = None,
    log: Log = LogOptions(),
) -> int:
    """Write the index and say what is in it."""
    from pipeline.fleet.progress import show_progress
    from pipeline.output.index import INDEX, write_index
    from pipeline.output.manifest import list_manifests
    from pipeline.output.run_record import read_run_record
    from pipeline.storage.location import normalise

    storage, output = open_storage(storage_options), normalise(run)
    read_run_record(storage, output)  # refuses a folder that holds no run
    names = list_manifests(storage, output)
    with show_progress(len(names), " shards", quiet=log.quiet) as show:
        made = write_index(
            storage, output, names, rebuild=rebuild, show=lambda done: show(done, "")
        )
    print(
        f"index     {made.shards} shards in {INDEX}, {made.size_bytes} bytes; "
        f"{made.read} manifests were read"
    )
    return 0
