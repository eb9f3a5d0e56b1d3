"""`xytok status`: what an output folder alone says about its run."""

import json as json_text
from dataclasses import asdict

from jobs.logs import Log, LogOptions
from jobs.options import Json, Run, StorageOptions, open_storage


def status(
    run: Run,
    /,
    *,
    json: Json = False,
    storage_options: StorageOptions = None,
    log: Log = LogOptions(),
) -> int:
    """Print the status; 1 when shards are left or failed."""
    from pipeline.inspect.status import read_status

    found = read_status(run, open_storage(storage_options))
    print(json_text.dumps(asdict(found), indent=1) if json else "\n".join(found.lines()))
    return 0 if found.is_complete else 1
