"""A trial run of a benchmark: one worker over a few shards, with its times; without a fleet."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.corpus.listing import list_shards
from pipeline.corpus.rules import ReadRules
from pipeline.corpus.shard import Shard
from pipeline.errors import PipelineError
from pipeline.output.identity import build_identity
from pipeline.plural import plural
from pipeline.storage.client import Storage
from pipeline.worker.settings import Tuning, WorkerSettings
from pipeline.worker.stage_times import StageTime
from pipeline.worker.worker import ShardWorker
from xy_codec.contract import Codec


@dataclass(frozen=True, slots=True)
class TrialRun:
    """What the run encoded, its wall time, and the processor time of all its threads."""

    source_seconds: float
    clips: int
    wall_seconds: float
    cpu_seconds: float
    stages: tuple[StageTime, ...]

    @property
    def times_realtime(self) -> float:
        """Audio seconds per wall second."""
        return self.source_seconds / self.wall_seconds

    def busy_share(self, stage: str) -> float:
        """The share of the wall time in which a stage that has one thread was busy."""
        busy = sum(each.busy_seconds for each in self.stages if each.name == stage)
        return busy / self.wall_seconds


def run_trial(
    shards: Sequence[Path], output: Path, codec: Codec, tuning: Tuning | None = None
) -> TrialRun:
    """Turn the shards into parts in this process; raise unless every clip becomes codes."""
    storage, rules = Storage(), ReadRules(root=str(shards[0].parent))
    settings = WorkerSettings(
        str(output), build_identity(codec.identity, rules), rules, storage, tuning or Tuning()
    )
    listed: list[Shard] = list_shards([str(path) for path in shards], storage, rules.root)
    worker = ShardWorker(settings, codec)
    wall, cpu = time.perf_counter(), time.process_time()
    outcomes = list(worker.run(iter(listed)))
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    manifests = [outcome.manifest for outcome in outcomes if outcome.manifest]
    done = sum(manifest.codes for manifest in manifests)
    seen = sum(manifest.clips_seen for manifest in manifests)
    if len(manifests) < len(shards) or done < seen:
        errors = {outcome.fault.message for outcome in outcomes if outcome.fault}
        raise PipelineError(
            f"A trial run made codes of {done} of {plural(seen, 'clip')} in {len(manifests)} of "
            f"{plural(len(shards), 'shard')} {errors or ''}; expected all of them; run `xytok "
            "doctor`"
        )
    seconds = sum(manifest.source_seconds for manifest in manifests)
    return TrialRun(seconds, done, wall, cpu, tuple(worker.stage_times()))
