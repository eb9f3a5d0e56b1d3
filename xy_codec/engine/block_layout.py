"""The layout of a pack of one shape: where clips lie is known to tensors only, in one tile."""

from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xy_codec.engine import attention, depthwise  # noqa: F401  # they define operations
from xy_codec.engine.layout import Layout


class BlockLayout(Layout):
    """Clips as the blocks `[N, 4]` that `fill_blocks` of `attention.py` wrote."""

    def __init__(self, place: Tensor, blocks: Tensor) -> None:
        super().__init__(place)
        self._blocks = blocks

    def add_positions(self, steps: Tensor, table: Tensor) -> Tensor:
        """Add `table[t]` to the step at place t of its clip."""
        return steps + F.embedding(self.place, table)

    def attend(self, qkv: Tensor, num_heads: int) -> Tensor:
        """Attention of all clips in one operation."""
        attended: Tensor = torch.ops.xytok.attend(qkv, self._blocks, num_heads)
        return attended

    def depthwise(self, steps: Tensor, conv: nn.Conv1d) -> Tensor:
        """Convolution of all clips in one operation."""
        convolved: Tensor = torch.ops.xytok.convolve_depthwise(
            steps, self._blocks, conv.weight, conv.bias
        )
        return convolved

    def _at(self, _place: Tensor, _up: int, _down: int) -> Self:
        raise NotImplementedError  # the programs know their rates themselves
