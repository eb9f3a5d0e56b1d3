"""Runs packs of one shape: one copy to the device, then one program, on CUDA replayed as a graph.

The host fills one piece of memory while the device still reads from another. Nothing is allocated
from pack to pack but the result's place on the host.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from xy_codec.engine.pack_memory import Arrays, PackMemory

logger = logging.getLogger(__name__)

# One that the device reads and one that the host fills.
_RING = 2
_WARM_UPS = 3


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
        name: str,
        program: Callable[..., Tensor],
        inputs: PackMemory,
        device: torch.device,
        *,
        as_graph: bool,
    ) -> None:
        self._name = name
        self._program = program
        self._device = device
        self._inputs = inputs
        self._memory = torch.zeros(inputs.num_bytes, dtype=torch.uint8, device=device)
        self._tensors = tuple(inputs.tensors(self._memory))
        self._ring: list[HostMemory] = []
        self._as_graph = as_graph and device.type == "cuda"
        self._graph: torch.cuda.CUDAGraph | None = None
        self._result: Tensor | None = None

    def __call__(self, fill: Callable[[Arrays], None]) -> Tensor:
        """The result for a pack, on the device; a graph's stands until the next pack runs."""
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
        assert self._result is not None
        self._graph.replay()
        return self._result

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
            self._result = self._program(*self._tensors)
        self._graph = graph
        seconds = time.monotonic() - started
        logger.info("Captured %s as a CUDA graph, with its warm-up in %.1f s", self._name, seconds)
