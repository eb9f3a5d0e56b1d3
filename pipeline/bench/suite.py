"""The benchmark a user runs: each part once, in an order in which nothing disturbs the next."""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from pipeline.bench.clips import write_shards
from pipeline.bench.codec_grid import GridPlan, measure_grid
from pipeline.bench.end_to_end import measure_end_to_end
from pipeline.bench.figures import (
    CodecFigure,
    EndToEndFigures,
    HostFigures,
    MachineFigures,
    SkippedFigure,
    StorageFigures,
)
from pipeline.bench.machine_figures import cpu_name, measure_machine, num_cores
from pipeline.bench.start_up import StartUpFigures, measure_start_up
from pipeline.bench.storage_figures import measure_storage
from pipeline.bench.trial_run import enough_threads, measure_host, thread_counts
from pipeline.bench.tuning_profile import TuningProfile
from pipeline.errors import UsageError
from pipeline.storage.client import Storage
from pipeline.worker.codec_request import CodecRequest
from pipeline.worker.settings import Tuning
from xy_codec.contract import Codec
from xy_codec.errors import XYCodecError

_HOST_SHARDS = 2
_MOST_IN_FLIGHT = 4


@dataclass(frozen=True, slots=True)
class BenchPlan:
    """What to measure and roughly how long it may take."""

    request: CodecRequest
    precisions: Sequence[str] = ("exact", "fast")
    seconds: float = 120.0
    storage: Storage = field(default_factory=Storage)
    storage_url: str | None = None
    lengths_seconds: Sequence[float] = (3.0, 10.0, 30.0)

    def check(self) -> None:
        """Refuse what cannot be measured."""
        if self.seconds <= 0 or not self.precisions:
            raise UsageError(
                f"`--seconds {self.seconds:g}` with precisions {list(self.precisions)}; expected "
                "more than 0 seconds and at least one precision; correct the command"
            )


@dataclass(frozen=True, slots=True)
class BenchReport:
    """Everything that was found."""

    codec: str
    overlap_seconds: float
    machine: MachineFigures
    host: HostFigures
    storage: StorageFigures
    grid: tuple[CodecFigure, ...]
    skipped: tuple[SkippedFigure, ...]
    start_up: StartUpFigures
    end_to_end: EndToEndFigures
    profile: TuningProfile


def run_suite(plan: BenchPlan, say: Callable[[str], None]) -> BenchReport:
    """Measure everything; `say` is told what is being measured."""
    plan.check()
    codec = plan.request.load()
    device = str(getattr(codec, "device", "cpu"))
    with tempfile.TemporaryDirectory(prefix="xytok-bench-") as name:
        folder = Path(name)
        say("matrix products")
        machine = measure_machine(device)
        say("host path")
        hosts = _measure_hosts(folder / "host", plan.seconds * 0.15)
        say("storage")
        storage = measure_storage(plan.storage, plan.storage_url or str(folder / "storage"))
        say("start of a worker")
        start_up = measure_start_up(plan.request)
        say("codec")
        grid, skipped = _measure_codecs(plan, codec, machine.matmul_gflops * 1e9)
        host = enough_threads(hosts, max(f.times_realtime for f in grid if f.direction == "encode"))
        in_flight = tune_in_flight(codec, plan.seconds * 0.05)
        profile = TuningProfile(
            cpu=cpu_name(),
            cores=num_cores(),
            device=machine.device,
            decode_threads=host.decode_threads,
            ahead_seconds=Tuning().ahead_seconds,
            buffers_in_flight=in_flight,
        )
        say("end to end")
        whole = measure_end_to_end(
            codec,
            folder / "whole",
            Tuning(decode_threads=profile.decode_threads),
            run_seconds=plan.seconds * 0.04,
            start_up_seconds=start_up.total_seconds,
        )
    return BenchReport(
        codec=codec.identity.name,
        overlap_seconds=codec.identity.overlap_seconds,
        machine=machine,
        host=host,
        storage=storage,
        grid=tuple(grid),
        skipped=tuple(skipped),
        start_up=start_up,
        end_to_end=whole,
        profile=profile,
    )


def tune_in_flight(codec: Codec, seconds: float) -> int:
    """The number of packs in flight that encodes fastest; 1 where the codec has no such choice."""
    from pipeline.bench.codec_grid import emilia_clips
    from pipeline.bench.end_to_end import encode_all
    from pipeline.bench.interleaving import interleave
    from pipeline.bench.matrix_work import synchronised

    if not getattr(codec, "packs_in_flight", 0):
        return 1
    clips = emilia_clips(codec, seconds / _MOST_IN_FLIGHT)
    usual = codec.packs_in_flight  # type: ignore[attr-defined]

    def encode_with(packs: int) -> Callable[[], object]:
        def encode() -> None:
            codec.packs_in_flight = packs  # type: ignore[attr-defined]
            encode_all(codec, clips)

        return synchronised(encode)

    timings = interleave({str(n): encode_with(n) for n in range(1, _MOST_IN_FLIGHT + 1)}, 3)
    codec.packs_in_flight = usual  # type: ignore[attr-defined]
    return int(min(timings, key=lambda name: timings[name].median))


def _measure_hosts(folder: Path, seconds: float) -> list[HostFigures]:
    # One core does about 1,500 times real time, a clip is ten seconds long.
    counts = thread_counts(num_cores())
    clips = max(20, round(seconds / len(counts) * 150 / _HOST_SHARDS))
    shards = write_shards(folder, _HOST_SHARDS, min(clips, 2000))
    tunings = {count: Tuning(decode_threads=count) for count in counts}
    measure_host(shards, folder / "warm", tunings[counts[0]])
    return [measure_host(shards, folder / f"out{n}", tuning) for n, tuning in tunings.items()]


def _measure_codecs(
    plan: BenchPlan, codec: Codec, matmul_flops: float
) -> tuple[list[CodecFigure], list[SkippedFigure]]:
    figures: list[CodecFigure] = []
    skipped: list[SkippedFigure] = []
    cells = 4 * len(plan.lengths_seconds) + 2 * len(plan.precisions)
    for precision in plan.precisions:
        is_first = precision == plan.precisions[0]
        lengths = plan.lengths_seconds if is_first else ()
        grid = GridPlan(lengths, cell_seconds=plan.seconds * 0.2 / cells)
        try:
            same = precision == codec.identity.precision
            one = codec if same else replace(plan.request, precision=precision).load()
            figures += measure_grid(one, grid, matmul_flops)
        except XYCodecError as error:
            skipped.append(SkippedFigure("encode", precision, str(error)))
    return figures, skipped
