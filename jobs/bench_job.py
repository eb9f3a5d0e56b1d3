"""`xytok bench`: what this machine gives, what is fastest on it, and what a corpus would cost."""

import json as json_text
import logging
from collections.abc import Iterator
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from pydantic import Field
from pydantic.dataclasses import dataclass

from jobs.codec_files import FileCodec
from jobs.logs import Log, LogOptions
from jobs.options import Json, StorageOptions, flags, open_storage
from pipeline.plural import plural
from pipeline.worker.codec_request import Precision

if TYPE_CHECKING:
    from pipeline.bench.corpus_cost import Corpus, Speeds
    from pipeline.bench.suite import BenchPlan, BenchReport

logger = logging.getLogger(__name__)
_Positive = Annotated[float, Field(gt=0)]
_Count = Annotated[int, Field(gt=0)]
# Submitting a shard to real actors and waiting for it; `make bench-scale` measures it.
_DRIVER_SECONDS_PER_SHARD = 1e-3


@dataclass(frozen=True, slots=True)
class CostOptions:
    """The corpus and the workers to reckon with.

    Attributes:
        hours: hours of audio.
        workers: workers at once.
        speed: assume workers of so many × real time, not of this machine's speed.
    """

    hours: _Positive = 101_000.0
    workers: _Count = 1
    speed: _Positive | None = None

    def corpus(self) -> "Corpus":
        """The corpus."""
        from pipeline.bench.corpus_cost import Corpus

        return Corpus.of_hours(self.hours)

    def speeds(self, report: "BenchReport") -> "Speeds":
        """What is assumed, and what was measured here."""
        from pipeline.bench.corpus_cost import Speeds

        return Speeds(
            workers=self.workers,
            encode=self.speed or report.end_to_end.times_realtime,
            host_per_core=report.host.times_realtime_per_core,
            start_up_seconds=report.start_up.total_seconds,
            driver_seconds_per_shard=_DRIVER_SECONDS_PER_SHARD,
            codes_bytes_per_second=report.codes_bytes_per_second,
        )


@dataclass(frozen=True, slots=True)
class BenchOptions:
    """What to measure.

    Attributes:
        precisions: the precisions to measure.
        seconds: about how long it takes.
        torch_threads: threads of torch; default: one a core.
        storage: a folder or bucket to read and write; default: a temporary folder.
        save_tuning: write the fastest settings to this file, for `xytok tokenize --tuning`.
    """

    codec: Annotated[FileCodec, flags("Codec", "precision")] = FileCodec()
    precisions: Annotated[tuple[Precision, ...], Parameter(consume_multiple=True)] = (
        "exact",
        "fast",
    )
    seconds: _Positive = 120.0
    torch_threads: _Count | None = None
    storage: str | None = None
    storage_options: StorageOptions = None
    save_tuning: Path | None = None
    cost: Annotated[CostOptions, flags("Cost of a corpus")] = CostOptions()

    def plan(self) -> "BenchPlan":
        """The plan of the benchmark."""
        from pipeline.bench.suite import BenchPlan

        return BenchPlan(
            request=replace(self.codec.named(), precision=self.precisions[0]),
            precisions=self.precisions,
            seconds=self.seconds,
            storage=open_storage(self.storage_options),
            storage_url=self.storage,
        )


def bench(
    *,
    options: Annotated[BenchOptions, Parameter(name="*")] = BenchOptions(),
    json: Json = False,
    log: Log = LogOptions(),
) -> int:
    """Measure and print; keep the speed for `xytok plan`, and the fastest settings if asked."""
    from pipeline.bench.kept_speeds import keep_speed
    from pipeline.bench.suite import run_suite
    from pipeline.bench.tuning_profile import write_profile

    if options.torch_threads:
        import torch

        torch.set_num_threads(options.torch_threads)
    if not (log.verbose or log.log_file):
        # The trial runs wait for things in milliseconds, again and again.
        logging.getLogger("pipeline").setLevel("WARNING")
    plan = options.plan()
    report = run_suite(plan, partial(logger.info, "measuring: %s …"))
    speed = report.end_to_end.times_realtime
    kept = keep_speed(plan.request, speed, report.machine.device)
    if options.save_tuning:
        write_profile(options.save_tuning, report.profile)
    if json:
        print(json_text.dumps(_as_json(report, options.cost), indent=1))
        return 0
    print("\n".join([*_report_lines(report), "", *_cost_lines(report, options.cost)]))
    print(f"{speed:,.1f} × real time is kept in {kept}: `xytok plan` reckons with it")
    if options.save_tuning:
        print(f"fastest settings written to {options.save_tuning}: for `tokenize --tuning`")
    return 0


def _as_json(report: "BenchReport", cost: CostOptions) -> dict[str, object]:
    from pipeline.bench.corpus_cost import estimate_cost

    corpus, speeds = cost.corpus(), cost.speeds(report)
    figures = {
        "corpus": asdict(corpus),
        "speeds": asdict(speeds),
        "speed_is_assumed": cost.speed is not None,
        "projection": asdict(estimate_cost(corpus, speeds)),
    }
    return asdict(report) | {"cost": figures}


def _report_lines(report: "BenchReport") -> Iterator[str]:
    """The whole report, section by section."""
    machine = report.machine
    units = f"{plural(machine.cores, 'core')}, {plural(machine.threads, 'thread')}"
    yield f"{machine.cpu}, {units}, torch {machine.torch}"
    yield f"device {machine.device}: {machine.matmul_gflops:,.0f} GFLOP/s in matrix products (fp32)"
    options = "".join(f", {name} {value}" for name, value in report.options.items())
    yield f"codec {report.codec}{options}; rates are × real time"
    yield ""
    yield from _grid_lines(report)
    yield ""
    yield from _host_lines(report)
    yield ""
    yield from _rest_lines(report)


def _grid_lines(report: "BenchReport") -> Iterator[str]:
    names = f"{'precision':>10}{'clip s':>8}{'clips':>7}{'× real':>10}{'GFLOP/s':>9}{'of peak':>9}"
    yield f"{'':8}{names}"
    for cell in report.grid:
        yield (
            f"{cell.direction:8}{cell.precision:>10}{cell.clip_seconds:>8.1f}"
            f"{cell.clips_together:>7}{cell.times_realtime:>10,.1f}{cell.gflops:>9,.0f}"
            f"{cell.share_of_matmul:>9.0%}"
        )
    for skipped in report.skipped:
        yield f"{skipped.direction:8}{skipped.precision:>10}  not measured: {skipped.reason}"


def _host_lines(report: "BenchReport") -> Iterator[str]:
    host = report.host
    yield (
        f"host path (fake codec): {host.times_realtime:,.0f} with {host.decode_threads} decode "
        f"threads, {host.times_realtime_per_core:,.0f} per core"
    )
    stages = ", ".join(f"{s.stage} {s.core_seconds_per_hour:.2f}" for s in host.stages)
    yield f"  core seconds for an hour of audio: {stages}"


def _rest_lines(report: "BenchReport") -> Iterator[str]:
    storage, whole, start = report.storage, report.end_to_end, report.start_up
    yield (
        f"storage {storage.url}: write {storage.write_mb_per_second:,.0f} MB/s, read "
        f"{storage.read_mb_per_second:,.0f} MB/s, put {storage.put_seconds * 1e3:.1f} ms, get "
        f"{storage.get_seconds * 1e3:.1f} ms, list {storage.list_seconds * 1e3:.1f} ms"
    )
    yield (
        f"end to end: {whole.times_realtime:,.1f}, {whole.share_of_pure_encode:.0%} of the codec "
        f"alone ({whole.pure_encode_times_realtime:,.1f})"
    )
    yield (
        f"start of a worker: {start.total_seconds:.1f} s (imports {start.imports_seconds:.1f}, "
        f"weights {start.load_seconds:.1f}, first pack {start.first_pack_seconds:.1f})"
    )
    profile = report.profile
    yield (
        f"best here: {profile.decode_threads} decode threads, "
        f"{profile.buffers_in_flight} buffers in flight"
    )


def _cost_lines(report: "BenchReport", options: CostOptions) -> Iterator[str]:
    """What a corpus costs at the speed that was measured, or at an assumed one."""
    from pipeline.bench.corpus_cost import estimate_cost

    corpus, speeds = options.corpus(), options.speeds(report)
    cost = estimate_cost(corpus, speeds)
    origin = "assumed" if options.speed else f"measured here ({report.machine.device})"
    yield (
        f"{corpus.name} on {plural(options.workers, 'worker')} at {speeds.encode:,.1f} × real "
        f"time, {origin}:"
    )
    yield (
        f"  {cost.device_hours:,.1f} worker hours, {cost.wall_hours:,.2f} h of wall time "
        f"({cost.start_up_share:.1%} of it start-up), {cost.cores_per_worker:.1f} cores a worker"
    )
    yield (
        f"  reads {corpus.size_bytes / 1e9:,.0f} GB at {cost.read_gbit_per_second:,.2f} Gbit/s, "
        f"{cost.requests:,} requests, writes {cost.output_bytes / 1e9:,.1f} GB of codes"
    )
    if report.machine.device == "cpu" and not options.speed:
        yield "  no GPU here: for hours of one run this there, or pass `--speed`"
