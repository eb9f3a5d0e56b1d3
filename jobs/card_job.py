"""`xytok card`: a dataset card for a hub, made from an output."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from jobs.logs import Log, LogOptions
from jobs.options import Output, Run, StorageOptions, open_storage


def card(
    run: Run,
    /,
    *,
    licence: Annotated[str, Parameter(help="the licence of the speech.")] = "other",
    title: Annotated[str, Parameter(help="the name of the data set.")] = "Speech codes",
    output: Annotated[
        Path | None, Output, Parameter(help="a file to write; default: print the card.")
    ] = None,
    storage_options: StorageOptions = None,
    log: Log = LogOptions(),
) -> int:
    """Print or write the card."""
    from pipeline.inspect.card import make_card

    made = make_card(run, open_storage(storage_options), licence=licence, title=title)
    if output:
        output.write_text(made, "utf-8")
    else:
        print(made)
    return 0
