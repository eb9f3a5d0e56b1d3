"""A cut of lhotse: what of a recording it is, and what its supervisions say."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from pipeline.corpus.lists.wished_clip import WishedClip, seconds_in, span_between

_READABLE = ("file", "url")
_ALIKE_SECONDS = 1e-3


def cut_fields(row: Mapping[str, Any]) -> dict[str, Any]:
    """The metadata of a cut of lhotse: custom fields, and what its supervisions say."""
    fields: dict[str, Any] = dict(row.get("custom") or {})
    supervisions = row.get("supervisions") or []
    for name in ("text", "speaker", "language"):
        values = [each[name] for each in supervisions if each.get(name)]
        if values and (name == "text" or len(set(values)) == 1):
            fields[name] = " ".join(values) if name == "text" else values[0]
    return fields | {"duration": row.get("duration")}


def wish_of_cut(row: Mapping[str, Any]) -> WishedClip:
    """The clip of a cut; one that is no piece of a single file becomes a reject."""
    recording = row.get("recording") or {}
    sources = recording.get("sources") or []
    fields = cut_fields(row)
    if row["type"] != "MonoCut" or len(sources) != 1 or sources[0].get("type") not in _READABLE:
        kinds = ", ".join(sorted({str(each.get("type")) for each in sources})) or "no recording"
        hint = "; name the tars `recording.*.tar` of Shar" if kinds == "shar" else ""
        fault = f"a {row['type']} of {kinds}; expected a MonoCut of one file{hint}"
        return WishedClip("", str(row["id"]), None, fields, fault)
    start, duration = seconds_in(row, "start"), seconds_in(row, "duration")
    channels = sources[0].get("channels") or [0]
    channel = channels.index(row["channel"]) if len(channels) > 1 else None
    is_whole = start == 0 and abs(duration - float(recording["duration"])) < _ALIKE_SECONDS
    span = None if is_whole and channel is None else span_between(start, start + duration, channel)
    if is_whole and span is not None:
        span = replace(span, start=0.0, end=None)
    return WishedClip(sources[0]["source"], str(row["id"]), span, fields)
