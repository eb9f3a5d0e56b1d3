"""The shards of an export as tasks of a Ray cluster; each writes a few by itself."""

from collections.abc import Iterator, Sequence
from typing import Any

from pipeline.export.exporter import Exporter, ExportRequest
from pipeline.export.plan import Plan, PlannedShard
from pipeline.export.shard_writing import ShardExporter
from pipeline.export.source import ExportedRun
from pipeline.fleet.ray.cluster import results_as_ready

# A task opens the run once; so many shards make that cheap and still spread well.
_SHARDS_PER_TASK = 16


def write_on_ray(
    request: ExportRequest, run: ExportedRun, plan: Plan, shards: Sequence[PlannedShard]
) -> Iterator[int]:
    """The samples of tasks as they end, on the cluster of `RAY_ADDRESS`, or one started here."""

    def start(ray: Any) -> list[Any]:
        cores = max(int(ray.cluster_resources().get("CPU", 1)), 1)
        size = max(1, min(_SHARDS_PER_TASK, -(-len(shards) // cores)))
        # Shards of a task follow each other, so that it opens few parts.
        batches = [shards[start : start + size] for start in range(0, len(shards), size)]
        task: Any = ray.remote(num_cpus=1, max_retries=3)(write_batch)
        shared = ray.put((request, run, plan))
        return [task.remote(shared, batch) for batch in batches]

    return results_as_ready(start)


def write_batch(
    shared: tuple[ExportRequest, ExportedRun, Plan], shards: Sequence[PlannedShard]
) -> int:
    """The body of a task: how many samples its shards have."""
    request, run, plan = shared
    writer = ShardExporter(Exporter(request, run), plan)
    return sum(writer.write(shard) for shard in shards)
