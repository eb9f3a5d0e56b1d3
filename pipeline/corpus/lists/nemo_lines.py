"""A line with the path of an audio file, as NeMo's manifests and most tables have it."""

from collections.abc import Mapping
from typing import Any

from pipeline.corpus.lists.field_names import ENDS, KEYS, KNOWN, PATHS, STARTS, shown_names
from pipeline.corpus.lists.wished_clip import WishedClip, seconds_in, span_between
from pipeline.errors import UsageError


def wish_of_line(row: Mapping[str, Any]) -> WishedClip:
    """A line with a path, as NeMo's manifests have it."""
    written = {name.lower(): name for name in row} | {name: name for name in row}
    paths = [written[name] for name in PATHS if name in written]
    path_field = next((name for name in paths if row[name] and isinstance(row[name], str)), None)
    is_empty = bool(paths) and all(row[name] in (None, "") for name in paths)
    if path_field is None and not is_empty:
        raise UsageError(
            f"it has no path of an audio file: expected text in one of the fields "
            f"{', '.join(PATHS)}; its fields are {shown_names(row)}"
        )
    keys = [written[name] for name in KEYS if name in written]
    key_field = next((name for name in keys if isinstance(row[name], str | int)), None)
    start, end, duration = (
        next((seconds_in(row, name) for name in found if row[name] is not None), None)
        for names in (STARTS, ENDS, ("duration",))
        for found in ([written[name] for name in names if name in written],)
    )
    if end is None and start is not None and duration is not None:
        end = start + duration
    span = None if start is None and end is None else span_between(start or 0.0, end)
    fields = {
        name.lower() if written.get(name.lower()) == name and name.lower() in KNOWN else name: value
        for name, value in row.items()
        if name not in (path_field, key_field)
        and name.lower() not in (*STARTS, *ENDS)
        and not (name in paths and row[name] in (None, ""))
    }
    if duration is not None:
        fields["duration"] = duration
    key = str(row[key_field]) if key_field else ""
    if path_field is None:
        return WishedClip("", key, None, fields, f"its `{paths[0]}` is empty")
    return WishedClip(row[path_field], key, span, fields)
