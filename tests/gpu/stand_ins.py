"""Lets the training code be imported where pydantic is not installed.

Only for the script: a recipe of the package is read unchecked. Where pydantic is installed, it is
used.
"""

import dataclasses
import importlib.util
import sys
import typing
from collections.abc import Callable
from types import ModuleType
from typing import Any


def fill_in() -> bool:
    """Put the stand-in in pydantic's place where it is missing; whether it was."""
    if importlib.util.find_spec("pydantic") is not None:
        return False
    sys.modules["pydantic"] = _pydantic()
    sys.modules["pydantic.dataclasses"] = _module("pydantic.dataclasses", dataclass=_dataclass)
    return True


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
