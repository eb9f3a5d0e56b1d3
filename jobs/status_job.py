"""`xytok status`: what an output folder alone says about its run."""

import json as json_text
import shutil
import sys
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from jobs.logs import Log, LogOptions
from jobs.options import Json, Run, StorageOptions, open_storage

if TYPE_CHECKING:
    from pipeline.storage.client import Storage

_WATCH_SECONDS = 5.0
# Reading the events of a long run takes a while; it is done a tenth of the time at most.
_PAUSE_PER_READ = 9.0
_CLEAR = "\x1b[H\x1b[2J"


def status(
    run: Run,
    /,
    *,
    watch: Annotated[
        bool, Parameter(help="show how far a run is until it ends, every 5 seconds.")
    ] = False,
    json: Json = False,
    storage_options: StorageOptions = None,
    log: Log = LogOptions(),
) -> int:
    """Print the status; 1 when shards are left or failed."""
    from pipeline.errors import UsageError
    from pipeline.inspect.status import read_status

    if watch and json:
        raise UsageError(
            "`--watch` shows lines for people and cannot print `--json`; expected one of the two; "
            "run `xytok status --json` as often as you need it"
        )
    storage = open_storage(storage_options)
    if watch:
        _watch(run, storage)
    found = read_status(run, storage)
    print(json_text.dumps(asdict(found), indent=1) if json else "\n".join(found.lines()))
    return 0 if found.is_complete else 1


def _watch(run: str, storage: "Storage") -> None:
    """Redraw in a terminal, and print a line for every news elsewhere, until the run ended."""
    from pipeline.fleet.lease import newest_lease
    from pipeline.inspect.live_status import read_live_status
    from pipeline.output.run_record import read_run_record

    # A run that has just begun has a lease before its record.
    if newest_lease(storage, run) is None:
        read_run_record(storage, run)
    told = 0.0
    while True:
        began = time.monotonic()
        live = read_live_status(run, storage)
        took = time.monotonic() - began
        if live.has_ended:
            return
        if sys.stdout.isatty():
            print(_CLEAR + "\n".join(live.lines(shutil.get_terminal_size().lines - 5)), flush=True)
        elif live.told != told:
            print(live.summary(), flush=True)
        told = live.told
        time.sleep(max(_WATCH_SECONDS, _PAUSE_PER_READ * took))
