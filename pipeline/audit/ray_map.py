"""An audit as a map over a Ray cluster: tasks of a few shards each, findings as they are ready."""

from collections.abc import Iterator
from typing import Any

from pipeline.audit.audit import AuditRequest, codec_request, recogniser, shard_settings
from pipeline.audit.audited_run import AuditedRun
from pipeline.audit.drift.shard_audit import ShardAudit
from pipeline.audit.measure import ShardFindings, measure_shards
from pipeline.audit.metrics.score_pool import ScorePool
from pipeline.fleet.ray.cluster import results_as_ready
from pipeline.output.manifest import Manifest
from pipeline.worker.codec_request import check_checkpoint
from xy_codec.contract import Codec

# A task loads codec and metrics once; so many shards make that cheap and still spread well.
_SHARDS_PER_TASK = 16
_CORES_PER_TASK = 4


def measure_on_ray(
    request: AuditRequest, run: AuditedRun, _codec: Codec
) -> Iterator[ShardFindings]:
    """Measure on the cluster of `RAY_ADDRESS`, or one started here; tasks load their own codec."""

    def start(ray: Any) -> list[Any]:
        resources = ray.cluster_resources()
        cores = max(min(int(request.processes or _CORES_PER_TASK), int(resources.get("CPU", 1))), 1)
        gpus = 1 if resources.get("GPU", 0) >= 1 and request.device != "cpu" else 0
        task: Any = ray.remote(num_cpus=cores, num_gpus=gpus, max_retries=3)(measure_batch)
        return [
            task.remote(request, run, batch, cores) for batch in _batches(run, resources, cores)
        ]

    for findings in results_as_ready(start):
        yield from findings


def measure_batch(
    request: AuditRequest, run: AuditedRun, manifests: tuple[Manifest, ...], cores: int
) -> list[ShardFindings]:
    """The body of a task: its own codec, its own score processes."""
    codec = codec_request(request, run).load()
    check_checkpoint(codec.identity, run.codec, run.output)
    settings = shard_settings(request, run)
    with ScorePool(cores, request.groups, request.sim_model) as pool:
        audit = ShardAudit(settings, codec, recogniser(request))
        return list(measure_shards(manifests, settings, audit, pool))


def _batches(
    run: AuditedRun, resources: dict[str, float], cores: int
) -> Iterator[tuple[Manifest, ...]]:
    """Shards in tasks: enough of them for every core to have work, none too small to pay."""
    slots = max(int(resources.get("CPU", 1)) // cores, 1)
    size = max(1, min(_SHARDS_PER_TASK, -(-len(run.manifests) // slots)))
    for start in range(0, len(run.manifests), size):
        yield run.manifests[start : start + size]
