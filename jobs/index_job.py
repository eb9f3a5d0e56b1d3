"""`xytok index`: what all manifests say in one file, so that tools need not read each of them."""

from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from jobs.logs import Log, LogOptions
from jobs.options import Run, StorageOptions, open_storage
from pipeline.plural import plural

if TYPE_CHECKING:
    from pipeline.storage.client import Storage


def index(
    run: Run,
    /,
    *,
    rebuild: Annotated[
        bool, Parameter(help="read every manifest, also those that the index has.")
    ] = False,
    clips: Annotated[
        bool,
        Parameter(
            help="write also index/clips.parquet, a row a clip without codes, from all parts."
        ),
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
        f"index     {plural(made.shards, 'shard')} in {INDEX}, {made.size_bytes} bytes; "
        f"{plural(made.read, 'manifest was', 'manifests were')} read"
    )
    if clips:
        _write_clips(output, storage, len(names), quiet=log.quiet)
    return 0


def _write_clips(output: str, storage: "Storage", num_parts: int, *, quiet: bool) -> None:
    from pipeline.fleet.progress import show_progress
    from pipeline.inspect.clips_table import CLIPS, write_clips

    with show_progress(num_parts, " parts", quiet=quiet) as show:
        made = write_clips(storage, output, lambda done: show(done, ""))
    print(
        f"clips     {plural(made.clips, 'clip')}, {made.hours:.3f} h, "
        f"{plural(made.speakers, 'speaker')}, {plural(made.languages, 'language')} in {CLIPS}, "
        f"{made.size_bytes} bytes; {plural(made.same_audio, 'has', 'have')} the audio of an "
        f"earlier one, {plural(made.dropped, 'is', 'are')} dropped"
    )
