"""Compiling the program of a pack with `torch.compile`."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from xy_codec.errors import ConfigError


def compiled(program: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The same program compiled; the first pack compiles it, which takes minutes.

    Never `max-autotune`: it chooses kernels by their speed on the day, and two workers that chose
    differently would write different codes.
    """
    made: Callable[..., Tensor] = torch.compile(program, fullgraph=True, dynamic=False)
    return made


def prepare_compiler(device: torch.device, cache: str | None) -> None:
    """Say where compiled programs are kept, and name a missing compiler at start.

    Torch would fail at the first pack, with a long trace.
    """
    if cache is not None:
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(Path(cache, "inductor"))
        os.environ["TRITON_CACHE_DIR"] = str(Path(cache, "triton"))
    on_gpu = device.type == "cuda"
    variable, names = ("CC", ("gcc", "clang")) if on_gpu else ("CXX", ("g++", "clang++"))
    if not any(shutil.which(name) for name in (os.environ.get(variable, names[0]), *names)):
        raise ConfigError(
            f"The encoder is to be compiled, but there is no compiler; expected one of "
            f"{', '.join(names)} on the PATH or in `{variable}`. Install one (`apt install "
            f"{names[0]}`), or leave out `--compile`."
        )
