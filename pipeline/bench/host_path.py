"""The speed of the host path: tars to Parquet with the fake codec, so everything but the codec.

It also chooses the decode threads of the tuning profile: the fewest that feed the codec.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.bench.clips import write_shards
from pipeline.bench.corpus_cost import SECONDS_PER_HOUR
from pipeline.bench.machine import num_cores
from pipeline.bench.trial_run import run_trial
from pipeline.worker.settings import Tuning
from xy_codec.fake import FakeCodec

_SHARDS = 2


@dataclass(frozen=True, slots=True)
class StageFigure:
    """Seconds that a stage keeps one core busy for an hour of audio."""

    stage: str
    core_seconds_per_hour: float


@dataclass(frozen=True, slots=True)
class HostFigures:
    """Tars to Parquet with the fake codec and this number of decode threads."""

    decode_threads: int
    times_realtime: float
    times_realtime_per_core: float
    stages: tuple[StageFigure, ...]


def measure_hosts(folder: Path, seconds: float) -> list[HostFigures]:
    """The host path with 1, 2, 4, … decode threads, in about `seconds`."""
    # One core does about 150 clips a second.
    counts = thread_counts(num_cores())
    clips = max(20, round(seconds / len(counts) * 150 / _SHARDS))
    shards = write_shards(folder, _SHARDS, min(clips, 2000))
    tunings = {count: Tuning(decode_threads=count) for count in counts}
    measure_host(shards, folder / "warm", tunings[counts[0]])
    return [measure_host(shards, folder / f"out{n}", tuning) for n, tuning in tunings.items()]


def measure_host(shards: Sequence[Path], output: Path, tuning: Tuning) -> HostFigures:
    """The speed of a run with the fake codec, which costs nothing."""
    trial = run_trial(shards, output, FakeCodec(), tuning)
    hours = trial.source_seconds / SECONDS_PER_HOUR
    stages = tuple(StageFigure(s.name, s.cpu_seconds / hours) for s in trial.stages)
    return HostFigures(
        decode_threads=tuning.decode_threads,
        times_realtime=trial.times_realtime,
        times_realtime_per_core=trial.source_seconds / trial.cpu_seconds,
        stages=stages,
    )


def thread_counts(cores: int) -> list[int]:
    """The numbers of decode threads to try: 1, 2, 4, … and all cores."""
    doubled = [2**power for power in range(cores.bit_length()) if 2**power < cores]
    return [*doubled, cores]


def enough_threads(
    figures: Sequence[HostFigures], codec_rate: float, tolerance: float = 0.05
) -> HostFigures:
    """The figure with the fewest threads that is twice as fast as the codec.

    If none is, the fewest threads among the figures that are nearly as fast as the best.
    """
    best = max(figure.times_realtime for figure in figures)
    wanted = min(2 * codec_rate, best * (1 - tolerance))
    good = [figure for figure in figures if figure.times_realtime >= wanted]
    return min(good, key=lambda figure: figure.decode_threads)
