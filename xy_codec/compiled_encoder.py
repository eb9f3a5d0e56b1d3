"""The encoder as one compiled program; on a GPU it is also one CUDA graph a pack."""

from collections.abc import Sequence

import torch
from torch import Tensor

from xy_codec.fixed_layout import FixedLayout, PackMap, map_clips
from xy_codec.model import XYTokenizer


class CompiledEncoder:
    """Mel rows of a pack to codes; the first pack of each number of codebooks compiles."""

    def __init__(self, model: XYTokenizer, num_rows: int) -> None:
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
