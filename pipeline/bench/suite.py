"""The whole benchmark of `xytok bench`: machine, host path, storage, start-up, codec, end to end.

The parts run one after the other, so that none disturbs another. Printing is left to the command.
"""

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated

import pydantic.dataclasses
from pydantic import Field

from pipeline.bench.codec_speed import CodecFigure, GridPlan, emilia_clips, measure_grid
from pipeline.bench.end_to_end import EndToEndFigures, encode_all, measure_end_to_end
from pipeline.bench.host_path import HostFigures, enough_threads, measure_hosts
from pipeline.bench.machine import MachineFigures, cpu_name, measure_machine, num_cores
from pipeline.bench.start_up import StartUpFigures, measure_start_up
from pipeline.bench.storage_speed import StorageFigures, measure_storage
from pipeline.bench.timing import interleave, synchronised
from pipeline.bench.tuning_profile import TuningProfile
from pipeline.output.part_size import codes_bytes_per_second
from pipeline.storage.client import Storage
from pipeline.worker.codec_request import CodecRequest, Precision
from pipeline.worker.settings import Tuning
from xy_codec.contract import Codec, Option
from xy_codec.errors import XYCodecError

_MOST_IN_FLIGHT = 4


@pydantic.dataclasses.dataclass(frozen=True, slots=True)
class BenchPlan:
    """What to measure and roughly how long it may take."""

    request: CodecRequest
    precisions: Annotated[tuple[Precision, ...], Field(min_length=1)] = ("exact", "fast")
    seconds: Annotated[float, Field(gt=0)] = 120.0
    storage: Storage = field(default_factory=Storage)
    storage_url: str | None = None
    lengths_seconds: tuple[float, ...] = (3.0, 10.0, 30.0)


@dataclass(frozen=True, slots=True)
class SkippedFigure:
    """A precision that could not be measured on this machine, and why."""

    direction: str
    precision: str
    reason: str


@dataclass(frozen=True, slots=True)
class BenchReport:
    """All figures of one benchmark, and the fastest settings."""

    codec: str
    options: Mapping[str, Option]
    codes_bytes_per_second: float
    machine: MachineFigures
    host: HostFigures
    storage: StorageFigures
    grid: tuple[CodecFigure, ...]
    skipped: tuple[SkippedFigure, ...]
    start_up: StartUpFigures
    end_to_end: EndToEndFigures
    profile: TuningProfile


def run_suite(plan: BenchPlan, say: Callable[[str], None]) -> BenchReport:
    """Measure everything; `say` is called with the name of each part before it starts."""
    codec = plan.request.load()
    device = str(getattr(codec, "device", "cpu"))
    with tempfile.TemporaryDirectory(prefix="xytok-bench-") as name:
        folder = Path(name)
        say("matrix products")
        machine = measure_machine(device)
        say("host path")
        hosts = measure_hosts(folder / "host", plan.seconds * 0.15)
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
        options=codec.identity.options,
        codes_bytes_per_second=codes_bytes_per_second(codec.shape),
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
    """The number of packs in flight that encodes fastest; 1 if the codec has no such setting."""
    counters = codec.counters
    if not counters.packs_in_flight:
        return 1
    clips = emilia_clips(codec, seconds / _MOST_IN_FLIGHT)
    usual = counters.packs_in_flight

    def encode_with(packs: int) -> Callable[[], object]:
        def encode() -> None:
            counters.packs_in_flight = packs
            encode_all(codec, clips)

        return synchronised(encode)

    timings = interleave({str(n): encode_with(n) for n in range(1, _MOST_IN_FLIGHT + 1)}, 3)
    counters.packs_in_flight = usual
    return int(min(timings, key=lambda name: timings[name].median))


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
