"""How many workers a cluster holds and what each one gets; pure arithmetic, no Ray."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.errors import UsageError
from pipeline.fleet.ray.options import RayOptions

# More decode threads than these feed no GPU faster: 10,000 x real time needs about nine cores.
_MAX_CPUS_BESIDE_GPU = 10.0
# Ray counts resources in ten-thousandths; floats would fit four workers of 0.2 into 1.
_UNITS = 10_000
# What a worker asks of its node's memory at most: an estimate of libraries, weights of two
# gigabytes and a copy while they are read, and the clips of two shards on their way.
_MAX_MEMORY_BYTES = 6 << 30


@dataclass(frozen=True, slots=True)
class NodeSize:
    """What one live node offers."""

    node_id: str
    cpus: float
    gpus: float
    memory_bytes: float = math.inf
    is_draining: bool = False


@dataclass(frozen=True, slots=True)
class FleetSize:
    """The share of every worker, and how many of them the cluster holds now."""

    gpus_per_worker: float
    cpus_per_worker: float
    num_workers: int
    memory_bytes_per_worker: int = _MAX_MEMORY_BYTES


def fleet_size(nodes: Sequence[NodeSize], options: RayOptions) -> FleetSize:
    """The workers that fit: one per GPU where there are GPUs, else one per node."""
    gpus = options.gpus_per_worker
    if gpus is None:
        gpus = 1.0 if any(node.gpus >= 1 for node in nodes) else 0.0
    usable = [node for node in nodes if node.gpus >= gpus and node.cpus > 0]
    cpus = options.cpus_per_worker or _cpu_share(usable, gpus, options.workers)
    places = [_places(node, gpus, cpus) for node in usable]
    shares = (node.memory_bytes // max(1, n) for node, n in zip(usable, places, strict=True))
    memory = int(min(_MAX_MEMORY_BYTES, *shares)) if usable else _MAX_MEMORY_BYTES
    num_workers = sum(places) if options.workers is None else options.workers
    return FleetSize(gpus, cpus, num_workers, memory)


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
        share = min(node.cpus // _gpu_places(node, gpus) for node in nodes)
        return max(1.0, min(share, _MAX_CPUS_BESIDE_GPU))
    smallest = min(node.cpus for node in nodes)
    per_node = -(-(workers or len(nodes)) // len(nodes))
    return max(1.0, smallest // per_node)


def _places(node: NodeSize, gpus: float, cpus: float) -> int:
    by_cpu = _how_often(cpus, node.cpus)
    return min(by_cpu, _gpu_places(node, gpus)) if gpus else by_cpu


def _gpu_places(node: NodeSize, gpus: float) -> int:
    # A part of a GPU lies on one GPU: what workers leave of several GPUs is not added up.
    return int(node.gpus) * _how_often(gpus, 1) if gpus < 1 else _how_often(gpus, node.gpus)


def _how_often(part: float, whole: float) -> int:
    return round(whole * _UNITS) // max(1, round(part * _UNITS))
