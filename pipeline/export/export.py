"""One export: check the request, plan it, write the shards that are left, and record all.

`jobs/export_job.py` calls `run_export`.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from typing import Any

from pipeline.errors import UsageError
from pipeline.export.destination import LEASE_FOLDER, check_same_export
from pipeline.export.exporter import Exporter, ExportRequest
from pipeline.export.finish import finish_export
from pipeline.export.plan import Plan, PlannedShard
from pipeline.export.record import ExportRecord
from pipeline.export.shard_writing import ShardExporter, write_reordered
from pipeline.export.source import ExportedRun
from pipeline.fleet.lease import Lease, hold_lease
from pipeline.plural import plural

logger = logging.getLogger(__name__)

# Writes planned shards in any order; the samples of each as it is done.
WriteShards = Callable[[ExportRequest, ExportedRun, Plan, Sequence[PlannedShard]], Iterator[int]]


def run_export(
    request: ExportRequest,
    show_for: Callable[[int], Any] | None = None,
    write_shards: WriteShards | None = None,
) -> ExportRecord:
    """Export a run; what `export.json` says.

    Args:
        show_for: gives for the number of samples a context whose value shows how many are done.
        write_shards: writes the shards elsewhere than here, see `ray_map.py`.
    """
    if write_shards and request.is_reordered:
        raise UsageError(
            f"`--{'shuffle' if request.cluster_by is None else 'cluster-by'}` goes through the "
            "disk of one machine; expected it with `--engine inline`; leave one or the other out"
        )
    exporter = Exporter(request)
    record = _ended(exporter)
    if record is None:
        plan = exporter.plan()
        # Only now, so that a request that is refused leaves nothing behind.
        url = exporter.destination.url
        with hold_lease(request.storage, url, wait=None, folder=LEASE_FOLDER) as lease:
            # Another command may have written all until the lease was taken.
            record = _ended(exporter) or _export_alone(
                exporter, plan, lease, show_for, write_shards
            )
    exporter.destination.clean()
    return record


def _ended(exporter: Exporter) -> ExportRecord | None:
    """The record of the same export that ended; raises where another export has the folder."""
    ended = exporter.destination.read_record()
    if ended is not None:
        check_same_export(exporter.destination.url, ended.request, exporter.identity)
    return ended


def _export_alone(
    exporter: Exporter,
    plan: Plan,
    lease: Lease,
    show_for: Callable[[int], Any] | None,
    write_shards: WriteShards | None,
) -> ExportRecord:
    destination = exporter.destination
    destination.claim(exporter.identity)
    if unfit := plan.left_out["where_other_type"]:
        logger.warning(
            "%s left out by `--where`: %s",
            plural(unfit, "clip is", "clips are"),
            exporter.chooser.unfit_types(),
        )
    done = destination.finished_shards()
    if exporter.request.is_reordered:
        shards = write_reordered(exporter, plan, done)
    else:
        shards = _write_planned(exporter, plan, done, write_shards or _write_here)
    with show_for(plan.clips) if show_for else nullcontext() as show:
        total = 0
        for samples in shards:
            lease.may_go_on()
            total += samples
            if show:
                show(total, "")
    record = finish_export(exporter, plan)
    lease.may_go_on()
    destination.finish(record)
    return record


def _write_planned(
    exporter: Exporter, plan: Plan, done: set[tuple[int, int]], write_shards: WriteShards
) -> Iterator[int]:
    """The samples of shards, those first that were done before."""
    left = [shard for shard in plan.shards if (shard.split, shard.number) not in done]
    yield plan.clips - sum(shard.samples for shard in left)
    yield from write_shards(exporter.request, exporter.run, plan, left)


def _write_here(
    request: ExportRequest, run: ExportedRun, plan: Plan, shards: Sequence[PlannedShard]
) -> Iterator[int]:
    writer = ShardExporter(Exporter(request, run), plan)
    return map(writer.write, shards)
