"""A benchmark report as text: one line a figure, units beside every number."""

from collections.abc import Iterator

from pipeline.bench.corpus_cost import Corpus, CorpusCost
from pipeline.bench.suite import BenchReport


def report_lines(report: BenchReport) -> Iterator[str]:
    """The whole report, section by section."""
    machine = report.machine
    yield f"{machine.cpu}, {machine.cores} cores, {machine.threads} threads, torch {machine.torch}"
    yield f"device {machine.device}: {machine.matmul_gflops:,.0f} GFLOP/s in matrix products (fp32)"
    yield f"codec {report.codec}, overlap {report.overlap_seconds:g} s; rates are × real time"
    yield ""
    yield from _grid_lines(report)
    yield ""
    yield from _host_lines(report)
    yield ""
    yield from _rest_lines(report)


def _grid_lines(report: BenchReport) -> Iterator[str]:
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


def _host_lines(report: BenchReport) -> Iterator[str]:
    host = report.host
    yield (
        f"host path (fake codec): {host.times_realtime:,.0f} with {host.decode_threads} decode "
        f"threads, {host.times_realtime_per_core:,.0f} per core"
    )
    stages = ", ".join(f"{s.stage} {s.core_seconds_per_hour:.2f}" for s in host.stages)
    yield f"  core seconds for an hour of audio: {stages}"


def _rest_lines(report: BenchReport) -> Iterator[str]:
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


def cost_lines(corpus: Corpus, cost: CorpusCost, workers: int, speed: str) -> Iterator[str]:
    """What a corpus costs at a stated speed."""
    yield f"{corpus.name} on {workers} workers at {speed}:"
    yield (
        f"  {cost.device_hours:,.1f} worker hours, {cost.wall_hours:,.2f} h of wall time "
        f"({cost.start_up_share:.1%} of it start-up), {cost.cores_per_worker:.1f} cores a worker"
    )
    yield (
        f"  reads {corpus.size_bytes / 1e9:,.0f} GB at {cost.read_gbit_per_second:,.2f} Gbit/s, "
        f"{cost.requests:,} requests, writes {cost.output_bytes / 1e9:,.1f} GB of codes"
    )
