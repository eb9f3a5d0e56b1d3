"""What a benchmark found, as plain values; every rate is audio seconds per second."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class MachineFigures:
    """The hardware and the versions that the other figures belong to."""

    cpu: str
    cores: int
    threads: int
    device: str
    torch: str
    matmul_gflops: float


@dataclass(frozen=True, slots=True)
class CodecFigure:
    """One cell of the grid: how fast clips of one length go through one precision."""

    direction: str
    precision: str
    clip_seconds: float
    clips_together: int
    times_realtime: float
    gflops: float
    share_of_matmul: float


@dataclass(frozen=True, slots=True)
class SkippedFigure:
    """A cell that could not be measured here, and why."""

    direction: str
    precision: str
    reason: str


@dataclass(frozen=True, slots=True)
class StageFigure:
    """Seconds of one core that a stage takes for an hour of audio."""

    stage: str
    core_seconds_per_hour: float


@dataclass(frozen=True, slots=True)
class HostFigures:
    """Everything but the codec: tar to Parquet with the fake codec."""

    decode_threads: int
    times_realtime: float
    times_realtime_per_core: float
    stages: tuple[StageFigure, ...]


@dataclass(frozen=True, slots=True)
class StorageFigures:
    """What one connection to a storage gives."""

    url: str
    write_mb_per_second: float
    read_mb_per_second: float
    put_seconds: float
    get_seconds: float
    list_seconds: float


@dataclass(frozen=True, slots=True)
class EndToEndFigures:
    """Tar to Parquet with the real codec, beside the codec alone on the same clips."""

    times_realtime: float
    pure_encode_times_realtime: float
    share_of_pure_encode: float
    encoder_busy: float  # share of the wall time, gaps between shards included
    start_up_seconds: float
