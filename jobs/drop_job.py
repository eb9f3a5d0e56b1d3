"""`xytok drop`: single clips taken out of a finished output, or brought back."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from jobs.logs import Log, LogOptions
from jobs.options import Run, StorageOptions, open_storage
from pipeline.plural import plural


def drop(
    run: Run,
    /,
    *,
    keys: Annotated[
        str | None, Parameter(help="keys with commas between, or `@FILE` with one a line.")
    ] = None,
    reason: Annotated[str, Parameter(help="why; shown wherever the clips are missed.")] = "",
    shard: Annotated[str, Parameter(help="only in parts with this piece in their path.")] = "",
    undo: Annotated[
        int | None, Parameter(help="bring back the clips of the list with this number.")
    ] = None,
    storage_options: StorageOptions = None,
    log: Log = LogOptions(),
) -> int:
    """Take clips out; without `--keys` and `--undo` show which ones are."""
    from pipeline.errors import UsageError
    from pipeline.inspect.drop import drop_clips, dropped_lists, read_keys, undo_drop

    storage = open_storage(storage_options)
    if undo is not None and keys is not None:
        raise UsageError(
            f"`--undo {undo}` and `--keys` are given; expected one of them; leave one out"
        )
    if undo is not None:
        back = undo_drop(run, undo, storage)
        print(f"brought back  {plural(len(back.rows), 'clip')} of list {back.number}")
    elif keys is not None:
        named = read_keys(_text(keys[1:])) if keys.startswith("@") else keys.split(",")
        result = drop_clips(run, named, reason, storage, shard)
        print(
            "dropped   "
            f"{plural(result.num_clips, 'clip')}{f', {result.path}' if result.path else ''}; "
            f"{plural(result.num_before, 'was', 'were')} out before"
        )
    else:
        lists = dropped_lists(run, storage)
        if not lists:
            print("dropped   nothing")
        for each in lists:
            print(
                f"list      {each.number}: {plural(len(each.rows), 'clip')}, "
                f"{each.rows[0]['reason']}"
            )
    return 0


def _text(path: str) -> str:
    from pipeline.errors import UsageError

    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise UsageError(
            f"`--keys @{path}` cannot be read: {error}; expected a text file with one key a line; "
            "check the path"
        ) from error
