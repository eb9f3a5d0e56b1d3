"""How packs run, as a codec's option `program` says it, and the compilers that some ways need."""

import logging
import os
import shutil
from pathlib import Path

import torch

from xy_codec.engine.geometry import Program
from xy_codec.errors import ConfigError

logger = logging.getLogger(__name__)

_PROGRAMS = ("tiles", "pack", "graph")


def read_program(name: str | None, device: torch.device) -> Program:
    """The program that the option `program` names; a graph is `pack`, whose codes it has."""
    if name not in (None, *_PROGRAMS):
        raise ConfigError(
            f"Option `program` is `{name}`; expected {', '.join(_PROGRAMS)}. Leave it out for "
            "`tiles`."
        )
    if name in (None, "tiles"):
        return "tiles"
    if device.type == "cuda":
        check_compiler(device, "the option `program`")
    warn_of_one_shape(device)
    return "pack"


def named_program(program: Program) -> str | None:
    """The option as it stands in an identity, where tiles are not named."""
    return "pack" if program == "pack" else None


def warn_of_one_shape(device: torch.device) -> None:
    """Say what is not known of packs of one shape on a GPU."""
    if device.type == "cuda":
        logger.warning("Packs of one shape are not yet proven on a GPU: see tests/gpu/README.md")


def keep_compiled(folder: str) -> None:
    """Keep what the compilers of torch and Triton make, so that the next start finds it."""
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(Path(folder, "inductor"))
    os.environ["TRITON_CACHE_DIR"] = str(Path(folder, "triton"))


def check_compiler(device: torch.device, asked_by: str) -> None:
    """Name a missing compiler at start: torch would fail at the first pack, with a long trace.

    On a GPU it is Triton that wants one, for what calls its kernels.
    """
    on_gpu = device.type == "cuda"
    variable, names = ("CC", ("gcc", "clang")) if on_gpu else ("CXX", ("g++", "clang++"))
    if not any(shutil.which(name) for name in (os.environ.get(variable, names[0]), *names)):
        raise ConfigError(
            f"The encoder is to be compiled, but there is no compiler; expected one of "
            f"{', '.join(names)} on the PATH or in `{variable}`. Install one (`apt install "
            f"{names[0]}`), or leave out {asked_by}."
        )
