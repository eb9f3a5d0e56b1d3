"""The options of a codec, which only it knows: `--codec-option depth=8` on the command line."""

import dataclasses
import math
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

from xy_codec.errors import ConfigError
from xy_codec.nearest_name import nearest

Kind = TypeVar("Kind")
_WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}


@dataclass(frozen=True)
class NoOptions:
    """The codec leaves nothing to choose."""


@dataclass(frozen=True)
class DepthOptions:
    """`depth`: only the first so many codebooks; all without it."""

    depth: int | None = None


@dataclass(frozen=True)
class ProgramOptions:
    """`program`: how a pack runs: `tiles`, the default; `pack`, all clips in one program of one
    shape; `graph`, that program replayed as a CUDA graph. The last two are not yet proven on a
    GPU."""

    program: str | None = None


@dataclass(frozen=True)
class BandwidthOptions:
    """`bandwidth`: kbit/s, one of those that the codec was trained for; the highest without it."""

    bandwidth: float | None = None


def read_options(kind: type[Kind], given: Mapping[str, object], codec: str) -> Kind:
    """Options as an object of a codec's own dataclass; refuses all that it does not have at once.

    Ranges are checked by the codec, which knows its sizes.
    """
    if not isinstance(given, Mapping):
        raise ConfigError(
            f"The options of codec `{codec}` are {given!r}; expected a mapping of names to values, "
            'for example `{"depth": 4}`. Pass one.'
        )
    hints = typing.get_type_hints(kind)
    names = sorted(hints)
    faults = []
    values: dict[str, object] = {}
    for name, value in given.items():
        wanted = [each for each in typing.get_args(hints.get(name)) or [hints.get(name)] if each]
        if name not in hints:
            expected = nearest(name, names) if names else "no option at all"
            faults.append(f"`{name}` is unknown, expected {expected}")
        elif isinstance(value, float) and not math.isfinite(value):
            faults.append(f"`{name}` is {value}, expected a finite number")
        elif type(value) is int and float in wanted and int not in wanted:
            values[name] = float(value)
        elif type(value) in wanted:
            values[name] = value
        else:
            words = " or ".join(_WORDS[each] for each in wanted if each in _WORDS)
            faults.append(f"`{name}` is {value!r}, expected {words}")
    if faults:
        raise ConfigError(
            f"Codec `{codec}` cannot take its options: {'; '.join(faults)}. Correct them, or "
            "leave them out."
        )
    return kind(**values)


def stated(options: object) -> dict[str, str | int | float | bool]:
    """Options as they stand in the identity, with the default values of what was left out."""
    assert dataclasses.is_dataclass(options)
    assert not isinstance(options, type)
    return {name: value for name, value in dataclasses.asdict(options).items() if value is not None}


def depth_of(depth: int | None, most: int, codec: str) -> int:
    """How many of its `most` codebooks a codec encodes: as the option `depth` says, else all."""
    if depth is not None and not 1 <= depth <= most:
        raise ConfigError(
            f"Option `depth` is {depth}; expected 1 to {most}, the codebooks of `{codec}`. Leave "
            "it out for all of them."
        )
    return depth or most
