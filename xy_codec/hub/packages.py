"""The packages that only some codecs need: importing a module of one, and building its model."""

import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any

from xy_codec.errors import ConfigError
from xy_codec.weights.source import CodecPlace


def import_model(package: str, module: str, extra: str) -> Any:
    """A package's module without the package's `__init__`, which may import what trains it.

    `speechtokenizer` imports its trainer so, and with it accelerate, matplotlib and beartype.
    """
    spec = find_spec(package)
    # A folder of the same name that is no package has no origin.
    if spec is None or spec.origin is None:
        raise ConfigError(
            f"The package `{package}` is not installed; expected it, because it has the codec's "
            f"class. Install it with `pip install 'xytok[{extra}]'`."
        )
    bare = ModuleType(package)
    bare.__path__ = list(spec.submodule_search_locations or ())
    was_imported = package in sys.modules
    sys.modules.setdefault(package, bare)
    try:
        with without_warnings():
            return import_module(f"{package}.{module}")
    finally:
        if not was_imported:
            del sys.modules[package]


def build_model(kind: Any, arguments: Mapping[str, Any], place: CodecPlace) -> Any:
    """A package's model with the sizes of a folder's config.json."""
    try:
        with without_warnings():
            return kind(**arguments)
    except Exception as error:  # what wrong sizes raise is up to the package
        raise ConfigError(
            f"`{place.path / 'config.json'}` is refused by `{kind.__name__}`: "
            f"{in_one_line(error)}. Expected the file as it was published."
        ) from error


def in_one_line(error: Exception) -> str:
    """What a package said, without its line breaks, and not all of a long list."""
    text = " ".join(str(error).split()).rstrip(".")
    return f"{type(error).__name__}: {text[:300]}"


@contextmanager
def without_warnings() -> Iterator[None]:
    """These packages use functions of torch that it warns about; their users cannot change that."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
