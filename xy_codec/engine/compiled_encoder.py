"""The encoder as one compiled program; on a GPU it is also one CUDA graph a pack."""

import os
import shutil
from collections.abc import Sequence

import torch
from torch import Tensor

from xy_codec.engine.fixed_layout import FixedLayout, PackMap, map_clips
from xy_codec.errors import ConfigError
from xy_codec.xy.model import XYTokenizer


class CompiledEncoder:
    """Mel rows of a pack to codes; the first pack of each number of codebooks compiles."""

    def __init__(self, model: XYTokenizer, num_rows: int) -> None:
        _check_compiler(on_gpu=model.mel.window.is_cuda)
        self._model = model
        self._num_rows = num_rows
        # Never `max-autotune`: it chooses kernels by their speed on the day, and two workers that
        # chose differently would write different codes.
        mode = "reduce-overhead" if model.mel.window.is_cuda else "default"
        self._program = torch.compile(self._encode, fullgraph=True, dynamic=False, mode=mode)

    def __call__(self, mel: Tensor, sizes: Sequence[tuple[int, int]], num_codebooks: int) -> Tensor:
        """Codes `[frames of the pack, K]`; on a GPU to be copied before the next call."""
        where = map_clips(sizes, self._num_rows).to(mel.device)
        torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]
        return self._program(mel, where, num_codebooks)

    def _encode(self, mel: Tensor, where: PackMap, num_codebooks: int) -> Tensor:
        layout = FixedLayout(where.place, where)
        rows = self._model.embed(mel, layout)
        return self._model.quantize(rows, layout, num_codebooks).short()


def _check_compiler(on_gpu: bool) -> None:
    """Torch finds out only at the first pack, and tells of it in a page of its own errors."""
    variable, names = ("CC", ("gcc", "clang")) if on_gpu else ("CXX", ("g++", "clang++"))
    if not any(shutil.which(name) for name in (os.environ.get(variable, names[0]), *names)):
        raise ConfigError(
            f"The encoder is to be compiled, but there is no compiler; expected one of "
            f"{', '.join(names)} on the PATH or in `{variable}`. Install one (`apt install "
            f"{names[0]}`), or leave out `--compile`."
        )
