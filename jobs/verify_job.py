"""`xytok verify`: manifests against parts against sources; leftovers listed, or removed."""

import json as json_text
from dataclasses import asdict
from typing import Annotated

from cyclopts import Parameter

from jobs.logs import Log, LogOptions
from jobs.options import Json, Run, StorageOptions, open_storage


def verify(
    run: Run,
    /,
    *,
    clean: Annotated[
        bool, Parameter(help="remove leftovers; refused while a run works on the output.")
    ] = False,
    quick: Annotated[
        bool,
        Parameter(help="compare names and sizes as listings have them; no byte and no input."),
    ] = False,
    sources: Annotated[bool, Parameter(help="look whether the inputs are as they were.")] = True,
    json: Json = False,
    storage_options: StorageOptions = None,
    log: Log = LogOptions(),
) -> int:
    """Print what was found; 1 when anything is wrong or left over."""
    from pipeline.inspect.verify import verify_output

    result = verify_output(
        run,
        open_storage(storage_options),
        sources=sources,
        clean=clean,
        quick=quick,
        quiet=log.quiet,
    )
    print(json_text.dumps(asdict(result), indent=1) if json else "\n".join(result.lines()))
    return 0 if result.is_clean else 1
