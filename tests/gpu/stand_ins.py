"""Lets the training code be imported where pydantic and webdataset are not installed.

Only for the script: a recipe of the package is read unchecked, and batches come from memory.
Where the packages are installed, the real ones are used.
"""

import dataclasses
import importlib.util
import sys
import typing
from collections.abc import Callable
from types import ModuleType
from typing import Any

from torch import Tensor

_STREAM = "xy_codec.training.speech_stream"


@dataclasses.dataclass(frozen=True, slots=True)
class Batch:
    """`speech_stream.Batch`, whose module imports webdataset."""

    waves: Tensor
    lengths: Tensor
    texts: tuple[str, ...]


def fill_in() -> list[str]:
    """Put a stand-in in the place of what is missing; the names of what was."""
    missing = [name for name in ("pydantic", "webdataset", "fsspec") if not _is_installed(name)]
    if "pydantic" in missing:
        sys.modules["pydantic"] = _pydantic()
        sys.modules["pydantic.dataclasses"] = _module("pydantic.dataclasses", dataclass=_dataclass)
    if "webdataset" in missing or "fsspec" in missing:
        sys.modules[_STREAM] = _module(_STREAM, Batch=Batch)
    return missing


def _is_installed(name: str) -> bool:
    try:
        return name in sys.modules or importlib.util.find_spec(name) is not None
    except ImportError:
        return False


def _pydantic() -> ModuleType:
    return _module(
        "pydantic",
        BeforeValidator=_nothing,
        ConfigDict=dict,
        Field=_nothing,
        StrictBool=bool,
        TypeAdapter=_Unchecked,
        ValidationError=type("ValidationError", (ValueError,), {}),
        model_validator=lambda **_: lambda method: method,
    )


def _module(name: str, **content: Any) -> ModuleType:
    module = ModuleType(name)
    module.__dict__.update(content)
    return module


def _nothing(*_args: Any, **_options: Any) -> None:
    return None


def _dataclass(**options: Any) -> Callable[[type], type]:
    options.pop("config", None)
    made: Callable[[type], type] = dataclasses.dataclass(**options)
    return made


class _Unchecked:
    """`TypeAdapter` without its checks: mappings become the dataclasses of the fields."""

    def __init__(self, kind: Any) -> None:
        self.kind = kind

    def validate_python(self, value: Any) -> Any:
        return _build(self.kind, value)


def _build(kind: Any, value: Any) -> Any:
    if dataclasses.is_dataclass(kind) and isinstance(value, dict):
        kinds = typing.get_type_hints(kind)
        made: Any = kind
        return made(**{name: _build(kinds[name], each) for name, each in value.items()})
    return tuple(value) if isinstance(value, list) else value
