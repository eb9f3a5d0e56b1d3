"""`xytok bench`: what this machine gives, what is fastest on it, and what a corpus would cost."""

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from jobs.codec_options import add_compile_argument

if TYPE_CHECKING:
    from pipeline.bench.corpus_cost import Corpus, Speeds
    from pipeline.bench.suite import BenchPlan, BenchReport

EXAMPLE = "xytok bench --codec xy-nano --hours 101000 --workers 8"
# Submitting a shard to real actors and waiting for it; `make bench-scale` measures it.
_DRIVER_SECONDS_PER_SHARD = 1e-3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the job's arguments."""
    codec = parser.add_argument_group("codec")
    codec.add_argument("--codec", default="xy-nano", help="checkpoint to measure (xy-nano)")
    codec.add_argument("--config", help="its YAML, where it does not lie beside it")
    codec.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (auto)")
    codec.add_argument(
        "--precision", default="exact,fast", help="precisions to measure (exact,fast)"
    )
    codec.add_argument(
        "--overlap-seconds", type=float, default=10.0, help="right context of windows (10)"
    )
    add_compile_argument(codec)
    run = parser.add_argument_group("benchmark")
    run.add_argument("--seconds", type=float, default=120.0, help="about how long it takes (120)")
    run.add_argument("--threads", type=int, help="torch threads (one a core)")
    run.add_argument("--storage", metavar="URL", help="folder to read and write (a temporary one)")
    run.add_argument("--storage-options", metavar="@FILE", help="endpoint and credentials")
    run.add_argument("--profile", type=Path, help="where to keep the fastest settings")
    run.add_argument("--json", action="store_true", help="figures as JSON on stdout")
    cost = parser.add_argument_group("cost of a corpus")
    cost.add_argument("--hours", type=float, default=101_000.0, help="hours of audio (101000)")
    cost.add_argument("--workers", type=int, default=1, help="workers at once (1)")
    cost.add_argument(
        "--gpu-speed", type=float, help="assume workers of so many × real time, not this machine's"
    )


def run(args: argparse.Namespace) -> int:
    """Measure, print, keep the profile."""
    from pipeline.bench.suite import run_suite
    from pipeline.bench.tuning_profile import default_path, write_profile

    plan = _plan(args)
    if args.threads:
        import torch

        torch.set_num_threads(args.threads)
    report = run_suite(plan, _say)
    path = args.profile or default_path()
    write_profile(path, report.profile)
    if args.json:
        print(json.dumps(_as_json(report, args), indent=1))
        return 0
    for line in _lines(report, args):
        print(line)
    print(f"profile written to {path}: `xytok tokenize` uses it")
    return 0


def _plan(args: argparse.Namespace) -> "BenchPlan":
    from pipeline.bench.suite import BenchPlan
    from pipeline.errors import UsageError
    from pipeline.storage.client import Storage
    from pipeline.storage.options import read_storage_options
    from pipeline.worker.codec_request import CodecRequest

    faults = [
        f"`{flag} {value:g}`; expected more than 0"
        for flag, value in (
            ("--hours", args.hours),
            ("--workers", args.workers),
            ("--gpu-speed", args.gpu_speed),
            ("--threads", args.threads),
        )
        if value is not None and value <= 0
    ]
    if faults:
        raise UsageError("\n  ".join(["Some options cannot be used:", *faults]))
    precisions = tuple(name for name in args.precision.split(",") if name)
    request = CodecRequest(
        args.codec,
        args.config,
        precisions[0] if precisions else "exact",
        args.device,
        args.overlap_seconds,
        args.compile,
    )
    return BenchPlan(
        request=request,
        precisions=precisions,
        seconds=args.seconds,
        storage=Storage(read_storage_options(args.storage_options)),
        storage_url=args.storage,
    )


def _say(what: str) -> None:
    print(f"measuring: {what} …", file=sys.stderr)


def _lines(report: "BenchReport", args: argparse.Namespace) -> Iterator[str]:
    from jobs.bench_table import cost_lines, report_lines
    from pipeline.bench.corpus_cost import estimate_cost

    yield from report_lines(report)
    yield ""
    corpus, speeds = _corpus(args), _speeds(report, args)
    origin = "assumed" if args.gpu_speed else f"measured here ({report.machine.device})"
    speed = f"{speeds.encode:,.1f} × real time, {origin}"
    yield from cost_lines(corpus, estimate_cost(corpus, speeds), args.workers, speed)
    if report.machine.device == "cpu" and not args.gpu_speed:
        yield "  no GPU here, so GPU hours stay open: run this on one, or pass `--gpu-speed`"


def _corpus(args: argparse.Namespace) -> "Corpus":
    from pipeline.bench.corpus_cost import Corpus

    return Corpus.of_hours(args.hours)


def _speeds(report: "BenchReport", args: argparse.Namespace) -> "Speeds":
    from pipeline.bench.corpus_cost import Speeds

    return Speeds(
        workers=args.workers,
        encode=args.gpu_speed or report.end_to_end.times_realtime,
        host_per_core=report.host.times_realtime_per_core,
        start_up_seconds=report.start_up.total_seconds,
        driver_seconds_per_shard=_DRIVER_SECONDS_PER_SHARD,
    )


def _as_json(report: "BenchReport", args: argparse.Namespace) -> dict[str, object]:
    from pipeline.bench.corpus_cost import estimate_cost

    corpus, speeds = _corpus(args), _speeds(report, args)
    cost = {
        "corpus": asdict(corpus),
        "speeds": asdict(speeds),
        "speed_is_assumed": args.gpu_speed is not None,
        "projection": asdict(estimate_cost(corpus, speeds)),
    }
    return asdict(report) | {"cost": cost}
