"""The processes that train together: which one this is, and what they add up.

Without a process group there is one rank, and nothing here does anything.
"""

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel


@dataclass(frozen=True, slots=True)
class Place:
    """This process among those that train together."""

    rank: int = 0
    world: int = 1


def find_place() -> Place:
    """The place of this process in its process group."""
    if not is_together():
        return Place()
    return Place(dist.get_rank(), dist.get_world_size())


def is_together() -> bool:
    """Whether there is a process group."""
    return dist.is_available() and dist.is_initialized()


def add_up(tensor: Tensor) -> Tensor:
    """Add the tensors of all ranks up, in place; every rank gets the same bits."""
    if is_together():
        dist.all_reduce(tensor)
    return tensor


@torch.no_grad()
def mean_of_all(steps: Tensor) -> Tensor:
    """The mean over the first axis of `[N, D]`, of all ranks together; ranks differ in N."""
    total = add_up(torch.cat((steps.sum(0), steps.new_tensor([len(steps)]))))
    return total[:-1] / total[-1]


def average_gradients(module: nn.Module) -> nn.Module:
    """The module in DDP, where there are several ranks.

    `find_unused_parameters` is for ranks without a transcript, and it keeps DDP from rearranging
    its buckets after the first step: a resumed run adds in the order of one that never stopped.
    Buffers are equal on all ranks without being sent.
    """
    if not is_together():
        return module
    # torch 2.13 warns of the old name, 2.11 does not know the new one.
    known = inspect.signature(DistributedDataParallel).parameters
    buffers = "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers"
    options: dict[str, Any] = {buffers: False}
    return DistributedDataParallel(module, find_unused_parameters=True, **options)


@contextmanager
def gathering(module: nn.Module, *, is_last: bool) -> Iterator[None]:
    """Ranks exchange gradients after the last backward pass of a step only."""
    if is_last or not isinstance(module, DistributedDataParallel):
        yield
        return
    with module.no_sync():
        yield
