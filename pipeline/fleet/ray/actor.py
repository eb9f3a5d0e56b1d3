"""The worker inside a Ray actor: it takes shards and returns their outcomes.

A plain class; `pool.py` makes it an actor. Several calls run at a time: one shard is encoded while
the next one is read.
"""

import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from pipeline.corpus.rules import ReadRules
from pipeline.corpus.shard import Shard
from pipeline.errors import NodeError, PipelineError, UsageError, WorkerError
from pipeline.fleet.pool import WorkerStart
from pipeline.fleet.worker_host import WorkerHost
from pipeline.storage.client import Storage
from pipeline.worker.codec_request import CodecRequest
from pipeline.worker.fault import Fault, Owner, fault_of
from pipeline.worker.flip_rate import measure_flip_rate
from pipeline.worker.writer import ShardOutcome
from xy_codec.contract import Codec
from xy_codec.errors import XYCodecError
from xy_codec.fake import FAKES


class RayWorker(WorkerHost):
    """Loads the codec once, then turns shards into files until it is stopped or drained."""

    def __init__(self) -> None:
        super().__init__()
        # A spot node gets SIGTERM before it ends: shards in hand are finished, no new one is begun.
        signal.signal(signal.SIGTERM, lambda *_: self.drain())

    def node(self) -> str:
        """The node that this worker runs on; told before the codec is loaded."""
        import ray

        return str(ray.get_runtime_context().get_node_id())

    def load(self, request: CodecRequest, limit_seconds: float) -> WorkerStart | Fault:
        """Load the codec and report where this worker runs, or why it cannot work."""
        try:
            return self._load(request, limit_seconds)
        except (XYCodecError, UsageError) as error:
            # The same codec would be refused everywhere.
            return Fault(Owner.RUN, str(error), error=error)
        except Exception as error:
            return _portable(fault_of(error))

    def _load(self, request: CodecRequest, limit_seconds: float) -> WorkerStart:
        import ray

        started = time.perf_counter()
        import_libraries(request)
        imported = time.perf_counter()
        codec = _load_within(limit_seconds, request)
        gpus = [str(gpu) for gpu in ray.get_gpu_ids()]
        if gpus and request.device == "auto" and codec.identity.platform.startswith("cpu:"):
            raise NodeError(
                f"Ray gave GPU {gpus[0]} to this worker, but torch sees none; expected a driver "
                "and a CUDA build of torch; repair this node, or pass `--gpus-per-worker 0`"
            )
        node = self.node()
        self.open(codec, f"{node[:8]}-{os.getpid()}")
        return WorkerStart(
            identity=codec.identity,
            node_id=node,
            place=":".join([node, *gpus]),
            pid=os.getpid(),
            import_seconds=imported - started,
            load_seconds=time.perf_counter() - imported,
        )

    def flip_rate(
        self, request: CodecRequest, shard: Shard, storage: Storage, rules: ReadRules
    ) -> tuple[float, ...] | None:
        """The share of codes per codebook that differ from those of `exact`, on this shard."""
        assert self._codec is not None, "load() comes before flip_rate()"
        return measure_flip_rate(self._codec, request, shard, storage, rules)

    def outcome(self, shard: Shard) -> ShardOutcome | None:
        """Wait for the outcome of a shard; None when it was not begun."""
        outcome = super().outcome(shard)
        if outcome is None or outcome.fault is None:
            return outcome
        return replace(outcome, fault=_portable(outcome.fault))


def import_libraries(request: CodecRequest) -> None:
    """Import torch where the codec needs it, so that loading is timed without it."""
    if request.source not in FAKES:
        import torch  # noqa: F401


def _portable(fault: Fault) -> Fault:
    """The fault as the driver can unpickle it: errors of libraries stay behind."""
    is_ours = isinstance(fault.error, PipelineError)
    return fault if is_ours else replace(fault, error=None)


def _load_within(limit_seconds: float, request: CodecRequest) -> Codec:
    loading = ThreadPoolExecutor(1, "xytok-load").submit(request.load)
    try:
        return loading.result(limit_seconds)
    except TimeoutError:
        if loading.done():
            raise
        raise WorkerError(
            f"The codec `{request.source}` was not loaded after {limit_seconds / 60:g} minutes; "
            "expected its checkpoint to be read in that time; copy it to a disk or bucket near the "
            "workers and give that place as `--codec`"
        ) from None
