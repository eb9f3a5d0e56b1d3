"""Codecs with random weights, each made and loaded once for all tests of this folder."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from tests.support.tiny_codecs import MAKERS
from xy_codec.contract import Codec
from xy_codec.loading import load_codec


@pytest.fixture(scope="session")
def folder_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a codec by its name; tests that change one make their own."""
    return cache(lambda name: MAKERS[name](tmp_path_factory.mktemp("codecs") / name))


@pytest.fixture(scope="session")
def codec_of(folder_of: Callable[[str], Path]) -> Callable[[str], Codec]:
    """A loaded codec by its name."""
    return cache(lambda name: load_codec(folder_of(name), device="cpu"))
