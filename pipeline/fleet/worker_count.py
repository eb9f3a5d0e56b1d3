"""How many workers a cluster holds and what each one gets; pure arithmetic, no Ray."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import pydantic.dataclasses
from pydantic import BeforeValidator, Field

from pipeline.errors import UsageError

_Positive = Annotated[float, Field(gt=0)]

# More decode threads than these feed no GPU faster: 10,000 x real time needs about nine cores.
_MAX_CPUS_BESIDE_GPU = 10.0


@dataclass(frozen=True, slots=True)
class NodeSize:
    """What one live node offers."""

    node_id: str
    cpus: float
    gpus: float


@pydantic.dataclasses.dataclass(frozen=True, slots=True)
class RayOptions:
    """What the user asked of Ray; where it is None, the cluster decides.

    Attributes:
        workers: how many workers; `auto` starts all that fit.
        gpus_per_worker: GPUs of a worker; default: 1 where there are GPUs.
        cpus_per_worker: CPUs of a worker; default: an equal share of its node.
        cluster: a running cluster, for `submit` the URL of its job server; else one is started.
        drain_seconds: how long workers may finish what they have after SIGTERM.
        hang_minutes: replace a worker that makes no progress for so long.
        load_minutes: replace a worker whose codec is not loaded after so long. Two gigabytes in
            this time are a megabyte a second; what takes longer stands still.
    """

    workers: Annotated[
        Annotated[int, Field(ge=1)] | None,
        BeforeValidator(lambda value: None if value == "auto" else value),
    ] = None
    gpus_per_worker: Annotated[float, Field(ge=0)] | None = None
    cpus_per_worker: _Positive | None = None
    cluster: str | None = None
    drain_seconds: _Positive = 300.0
    hang_minutes: _Positive = 15.0
    load_minutes: _Positive = 30.0


@dataclass(frozen=True, slots=True)
class FleetSize:
    """The share of every worker, and how many of them the cluster holds now."""

    gpus_per_worker: float
    cpus_per_worker: float
    num_workers: int


def fleet_size(nodes: Sequence[NodeSize], options: RayOptions) -> FleetSize:
    """The workers that fit: one per GPU where there are GPUs, else one per node."""
    gpus = options.gpus_per_worker
    if gpus is None:
        gpus = 1.0 if any(node.gpus >= 1 for node in nodes) else 0.0
    usable = [node for node in nodes if node.gpus >= gpus and node.cpus > 0]
    cpus = options.cpus_per_worker or _cpu_share(usable, gpus, options.workers)
    if options.workers is not None:
        return FleetSize(gpus, cpus, options.workers)
    return FleetSize(gpus, cpus, sum(_places(node, gpus, cpus) for node in usable))


def check_fits(size: FleetSize, nodes: Sequence[NodeSize]) -> None:
    """Refuse a worker that no node can hold; Ray itself would wait for ever."""
    if any(_places(node, size.gpus_per_worker, size.cpus_per_worker) for node in nodes):
        return
    shown = ", ".join(f"{node.cpus:g} CPUs and {node.gpus:g} GPUs" for node in nodes[:5])
    raise UsageError(
        f"A worker of {size.cpus_per_worker:g} CPUs and {size.gpus_per_worker:g} GPUs fits on no "
        f"node (there are {len(nodes)}: {shown}); expected a smaller one; lower "
        "`--cpus-per-worker` or `--gpus-per-worker`"
    )


def _cpu_share(nodes: Sequence[NodeSize], gpus: float, workers: int | None) -> float:
    if not nodes:
        return 1.0
    if gpus:
        share = min(node.cpus // max(1.0, node.gpus // gpus) for node in nodes)
        return max(1.0, min(share, _MAX_CPUS_BESIDE_GPU))
    smallest = min(node.cpus for node in nodes)
    per_node = -(-(workers or len(nodes)) // len(nodes))
    return max(1.0, smallest // per_node)


def _places(node: NodeSize, gpus: float, cpus: float) -> int:
    by_cpu = int(node.cpus // cpus)
    return min(by_cpu, int(node.gpus // gpus)) if gpus else by_cpu
