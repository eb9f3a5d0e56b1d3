"""One way of doing the work, timed by turns with others and set against its own matrix shapes."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from pipeline.bench.flops import MatrixWork, record_matrix_work
from pipeline.bench.timing import Clock, Timings, interleave


@dataclass(frozen=True, slots=True)
class MeasuredWay:
    """Timings of a way and of its matrix operations alone, in the same rounds."""

    name: str
    audio_seconds: float
    timings: Timings
    work: MatrixWork
    bare_seconds: float

    @property
    def times_realtime(self) -> float:
        return self.audio_seconds / self.timings.median

    @property
    def gflops(self) -> float:
        return self.work.flops / self.timings.median / 1e9

    def share_of_own_shapes(self) -> float:
        """How near it comes to doing nothing but its matrix operations."""
        return self.bare_seconds / self.timings.best

    def line(self, peak: float) -> str:
        return (
            f"| {self.name} | {self.times_realtime:.1f} | "
            f"{self.work.flops / self.audio_seconds / 1e9:.1f} | {self.gflops:.0f} | "
            f"{self.work.flops / self.timings.median / peak:.0%} | "
            f"{self.share_of_own_shapes():.0%} |"
        )


HEADER = (
    "| way | × real time | GFLOP for 1 s | GFLOP/s | of matmul peak | of its own shapes |\n"
    "|---|---|---|---|---|---|"
)


def measure_ways(
    ways: Mapping[str, Callable[[], object]],
    audio_seconds: float,
    repetitions: int,
    clock: Clock,
) -> dict[str, MeasuredWay]:
    """Record each way once, which warms it up, then time all of them by turns."""
    work = {name: record_matrix_work(way) for name, way in ways.items()}
    bare = {name: work[name].replay_seconds(clock=clock) for name in ways}
    timings = interleave(ways, repetitions, warm_up=False, clock=clock)
    return {
        name: MeasuredWay(
            name,
            audio_seconds,
            timings[name],
            work[name],
            min(bare[name], work[name].replay_seconds(clock=clock)),
        )
        for name in ways
    }
