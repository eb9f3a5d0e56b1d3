"""One stretch of memory for all that a pack is given, so that one copy brings it to the device."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

# Where each part starts: a multiple that suits every type and copy.
_ALIGNMENT = 128
_TENSORS: dict[type, torch.dtype] = {
    np.float32: torch.float32,
    np.int64: torch.int64,
    np.int32: torch.int32,
}
Arrays = Sequence[NDArray[Any]]
Shapes = Sequence[tuple[type, tuple[int, ...]]]


class PackMemory(ABC):
    """Parts of constant types and shapes, one behind the other."""

    @abstractmethod
    def shapes(self) -> Shapes:
        """Type and shape of each part."""

    @property
    def num_bytes(self) -> int:
        """Size of the memory."""
        return self._places()[-1][-1]

    def tensors(self, memory: Tensor) -> list[Tensor]:
        """The parts of a memory `[num_bytes]` of bytes, which the program takes."""
        return [
            memory[start:stop].view(_TENSORS[dtype]).view(shape)
            for dtype, shape, start, stop in self._places()
        ]

    def arrays(self, memory: NDArray[np.uint8]) -> Arrays:
        """The same parts of the host's memory, which it fills."""
        return [
            memory[start:stop].view(dtype).reshape(shape)
            for dtype, shape, start, stop in self._places()
        ]

    def _places(self) -> list[tuple[type, tuple[int, ...], int, int]]:
        places, start = [], 0
        for dtype, shape in self.shapes():
            stop = start + np.dtype(dtype).itemsize * int(np.prod(shape))
            places.append((dtype, shape, start, stop))
            start = -(-stop // _ALIGNMENT) * _ALIGNMENT
        return places
