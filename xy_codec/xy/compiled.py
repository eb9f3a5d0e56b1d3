"""Compiling the program of a pack with `torch.compile`, and what compilers need."""

import os
import shutil
from pathlib import Path

import torch

from xy_codec.errors import ConfigError
from xy_codec.xy.pack_program import PackProgram


def compile_encoding(program: PackProgram) -> None:
    """Compile what a program does behind the log-mel; its first pack does it, and takes minutes.

    The log-mel has complex numbers, for which the compiler makes no code. Never `max-autotune`: it
    chooses kernels by their speed on the day, and two workers that chose differently would write
    different codes.
    """
    encode = torch.compile(program.encode, fullgraph=True, dynamic=False)
    program.encode = encode  # type: ignore[method-assign]


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
