"""One small run of a worker over shards made for it, and what it took."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.bench.figures import HostFigures, StageFigure
from pipeline.bench.projection import SECONDS_PER_HOUR
from pipeline.corpus.listing import list_shards
from pipeline.corpus.rules import ReadRules
from pipeline.corpus.shard import Shard
from pipeline.errors import PipelineError
from pipeline.output.identity import build_identity
from pipeline.storage.client import Storage
from pipeline.worker.settings import Tuning, WorkerSettings
from pipeline.worker.stage_times import StageTime
from pipeline.worker.worker import ShardWorker
from xy_codec.contract import Codec
from xy_codec.fake import FakeCodec


@dataclass(frozen=True, slots=True)
class TrialRun:
    """What came out, the wall time, and the processor time of all threads."""

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
        """The share of the wall time in which a stage of one thread was at work."""
        busy = sum(each.busy_seconds for each in self.stages if each.name == stage)
        return busy / self.wall_seconds


def run_trial(
    shards: Sequence[Path], output: Path, codec: Codec, tuning: Tuning | None = None
) -> TrialRun:
    """Turn the shards into parts in this process; every clip has to become codes."""
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
        errors = {outcome.error for outcome in outcomes if outcome.error}
        raise PipelineError(
            f"A trial run made codes of {done} of {seen} clips in {len(manifests)} of "
            f"{len(shards)} shards {errors or ''}; expected all of them; run `xytok doctor`"
        )
    seconds = sum(manifest.source_seconds for manifest in manifests)
    return TrialRun(seconds, done, wall, cpu, tuple(worker.stage_times()))


def measure_host(shards: Sequence[Path], output: Path, tuning: Tuning) -> HostFigures:
    """Everything but the codec: the same run with the codec that costs nothing."""
    trial = run_trial(shards, output, FakeCodec(), tuning)
    hours = trial.source_seconds / SECONDS_PER_HOUR
    stages = tuple(StageFigure(s.name, s.cpu_seconds / hours) for s in trial.stages)
    return HostFigures(
        decode_threads=tuning.num_decode_threads,
        times_realtime=trial.times_realtime,
        times_realtime_per_core=trial.source_seconds / trial.cpu_seconds,
        stages=stages,
    )


def thread_counts(cores: int) -> list[int]:
    """Numbers of decode threads worth trying: 1, 2, 4, … and all cores."""
    doubled = [2**power for power in range(cores.bit_length()) if 2**power < cores]
    return [*doubled, cores]


def enough_threads(
    figures: Sequence[HostFigures], codec_rate: float, tolerance: float = 0.05
) -> HostFigures:
    """The figure with the fewest threads that feed this codec, with as much again to spare.

    Where none does: with the fewest among those that are nearly the fastest.
    """
    best = max(figure.times_realtime for figure in figures)
    wanted = min(2 * codec_rate, best * (1 - tolerance))
    good = [figure for figure in figures if figure.times_realtime >= wanted]
    return min(good, key=lambda figure: figure.decode_threads)
