"""The metadata of a clip: fields of its JSON and text as typed columns of the part.

The ledger calls it for every clip. Fields without a column, and values of another type than their
column, stay JSON in the column `extra`.
"""

import codecs
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_TYPED = ("text", "speaker", "language", "dnsmos", "phone_count", "duration")
# Emilia and Emilia-YODAS repeat the key under these names.
_ID_FIELDS = ("id", "_id")
_MAX_INT64 = 2**63 - 1
# One encoder for all clips: `json.dumps` with these options would build one each time.
_ENCODER = json.JSONEncoder(
    ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False
)


@dataclass(frozen=True, slots=True)
class Metadata:
    """The columns of one clip; null where its JSON lacks the field."""

    text: str | None = None
    speaker: str | None = None
    language: str | None = None
    dnsmos: float | None = None
    phone_count: int | None = None
    json_duration: float | None = None
    extra: str | None = None


NO_METADATA = Metadata()


def parse_json(payload: bytes) -> Mapping[str, Any] | str:
    """The fields of a JSON member, or, as text, why they cannot be read."""
    try:
        fields = json.loads(payload)
    except (ValueError, RecursionError) as error:
        return f"not JSON: {error}"[:200]
    if not isinstance(fields, dict):
        return f"a JSON {type(fields).__name__}, expected an object"
    return fields


def decode_text(payload: bytes) -> str:
    """The content of a text file: UTF-8, or UTF-16 where its mark is in front; others raise."""
    is_wide = payload.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return payload.decode("utf-16" if is_wide else "utf-8-sig")


def with_words(fields: Mapping[str, Any]) -> Mapping[str, Any]:
    """The fields with speakers and texts that are whole numbers as words, as columns have them."""
    numbers = {
        name: str(fields[name])
        for name in ("speaker", "text")
        if isinstance(fields.get(name), int) and not isinstance(fields[name], bool)
    }
    return {**fields, **numbers} if numbers else fields


def to_metadata(key: str, fields: Mapping[str, Any] | None, text: str | None) -> Metadata:
    """Convert known fields to their columns and put everything else into `extra`."""
    if fields is None:
        return Metadata(text=text) if text is not None else NO_METADATA
    own_text = _text(fields.get("text"))
    typed = Metadata(
        text=text if own_text is None else own_text,
        speaker=_text(fields.get("speaker")),
        language=_text(fields.get("language")),
        dnsmos=_number(fields.get("dnsmos")),
        phone_count=_whole(fields.get("phone_count")),
        json_duration=_number(fields.get("duration")),
    )
    rest = {
        name: value
        for name, value in fields.items()
        if not _is_kept(name, value, typed) and not _is_key(name, value, key)
    }
    if not rest:
        return typed
    try:
        extra = _ENCODER.encode(rest)
    except ValueError:
        extra = _ENCODER.encode(_finite(rest))
    return Metadata(
        typed.text,
        typed.speaker,
        typed.language,
        typed.dnsmos,
        typed.phone_count,
        typed.json_duration,
        clean_text(extra),
    )


def clean_text(text: str) -> str:
    """Text that UTF-8 can encode: JSON may contain lone surrogates, which become `\\uNNNN`."""
    if text.isascii():
        return text
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _finite(value: Any) -> Any:
    """The same value with NaN and infinities as strings, because JSON has no such numbers."""
    if isinstance(value, dict):
        return {name: _finite(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_finite(each) for each in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _is_key(name: str, value: Any, key: str) -> bool:
    return name in _ID_FIELDS and (value == key or value == key.rpartition("/")[2])


def _is_kept(name: str, value: Any, typed: Metadata) -> bool:
    if name not in _TYPED:
        return False
    kept = getattr(typed, "json_duration" if name == "duration" else name)
    return value is None or (kept is not None and (name != "text" or isinstance(value, str)))


def _text(value: Any) -> str | None:
    return clean_text(value) if isinstance(value, str) else None


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _whole(value: Any) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int) or abs(value) > _MAX_INT64:
        return None
    return value
