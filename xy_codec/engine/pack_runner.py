"""Runs packs of one shape: one copy to the device, then one program, on CUDA replayed as a graph.

The host fills one piece of memory while the device still reads from another. Nothing is allocated
from pack to pack but the codes' place on the host.
"""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

logger = logging.getLogger(__name__)

# One that the device reads and one that the host fills.
_RING = 2
_WARM_UPS = 3
Arrays = Sequence[NDArray[Any]]


class Inputs(Protocol):
    """Where the parts of a pack lie in one memory."""

    @property
    def num_bytes(self) -> int:
        """Size of the memory."""

    def tensors(self, memory: Tensor) -> Sequence[Tensor]:
        """The parts of the device's memory, which the program takes."""

    def arrays(self, memory: NDArray[np.uint8]) -> Arrays:
        """The same parts of the host's memory, which it fills."""


@dataclass(slots=True)
class HostMemory:
    """Memory that the host fills, and the end of its last copy to the device."""

    tensor: Tensor
    arrays: Arrays
    copied: Any = None


class PackRunner:
    """A program whose inputs are views of one memory on the device, always at the same place."""

    def __init__(
        self,
        program: Callable[..., Tensor],
        inputs: Inputs,
        device: torch.device,
        *,
        as_graph: bool,
    ) -> None:
        self._program = program
        self._device = device
        self._inputs = inputs
        self._memory = torch.zeros(inputs.num_bytes, dtype=torch.uint8, device=device)
        self._tensors = tuple(inputs.tensors(self._memory))
        self._ring: list[HostMemory] = []
        self._as_graph = as_graph and device.type == "cuda"
        self._graph: torch.cuda.CUDAGraph | None = None
        self._codes: Tensor | None = None

    def __call__(self, fill: Callable[[Arrays], None]) -> Tensor:
        """Codes of a pack, on the device; of a graph they stand until the next pack runs."""
        host = self._next_memory()
        fill(host.arrays)
        self._memory.copy_(host.tensor, non_blocking=True)
        if self._device.type == "cuda":
            # Of the codec's device, which need not be the current one.
            host.copied.record(torch.cuda.current_stream(self._device))
        if not self._as_graph:
            return self._program(*self._tensors)
        if self._graph is None:
            self._capture()
        assert self._graph is not None
        assert self._codes is not None
        self._graph.replay()
        return self._codes

    def _next_memory(self) -> HostMemory:
        if len(self._ring) < _RING:
            return self._new_memory()
        host = self._ring.pop(0)
        self._ring.append(host)
        if host.copied is not None:
            host.copied.synchronize()
        return host

    def _new_memory(self) -> HostMemory:
        size = self._inputs.num_bytes
        if self._device.type == "cuda":
            tensor = torch.zeros(size, dtype=torch.uint8, pin_memory=True)
            event = torch.cuda.Event()  # type: ignore[no-untyped-call]
            host = HostMemory(tensor, self._inputs.arrays(tensor.numpy()), event)
        else:
            memory = np.zeros(size, np.uint8)
            host = HostMemory(torch.from_numpy(memory), self._inputs.arrays(memory))
        self._ring.append(host)
        return host

    def _capture(self) -> None:
        """Run the program a few times, then record it; its memory is its own from then on."""
        started = time.monotonic()
        stream = torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(stream):
            for _ in range(_WARM_UPS):
                self._program(*self._tensors)
        torch.cuda.current_stream(self._device).wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        # `thread_local`: other threads of a worker may use CUDA, for example to pin memory.
        with (
            torch.cuda.device(self._device),
            torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"),
        ):
            self._codes = self._program(*self._tensors)
        self._graph = graph
        seconds = time.monotonic() - started
        logger.info("Captured the encoder as a CUDA graph, with its warm-up in %.1f s", seconds)
