"""Side by side, by turns in one process group: ours, the reference's way, other codecs, Ray Data.

`make bench-compare`, or `python tests/benchmarks/bench_compare.py --full --threads 2` for the
520 M parameter configuration (about 4 GB of memory, many minutes). Overlap 10 s throughout.
"""

import argparse
import os
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from functools import partial
from pathlib import Path

import torch

from pipeline.bench.clips import emilia_lengths, shard_seconds, waveforms, write_shards
from pipeline.bench.end_to_end import measure_end_to_end
from pipeline.bench.flops import matmul_peak
from pipeline.bench.machine import cpu_name
from pipeline.bench.timing import Clock, paired_ratio
from pipeline.bench.trial_run import run_trial
from pipeline.worker.settings import Tuning
from tests.benchmarks.measured_way import HEADER, measure_ways
from tests.benchmarks.other_codecs import other_codecs
from tests.benchmarks.ray_data_path import run_ray_data, start_ray, stop_ray
from tests.benchmarks.reference_decode import decode_as_reference
from tests.benchmarks.reference_way import encode_as_reference, open_reference
from tests.benchmarks.spent_time import Spent, wait_for_quiet
from tests.support.full_size_codec import full_size
from tests.support.places import ROOT
from xy_codec import load_codec
from xy_codec.contract import Codec
from xy_codec.fake import FakeCodec
from xy_codec.xy.packed_codec import PackedCodec

HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Wish:
    """What to compare and how often."""

    threads: int
    repetitions: int
    clips: int
    full: bool
    host_clips: int
    clock_name: str
    sides: str
    others: str
    loop_only: bool

    @property
    def clock(self) -> Clock:
        """Processor time only says the same as wall time when one thread works."""
        return time.process_time if self.clock_name == "processor time" else time.perf_counter


def compare_codecs(wish: Wish) -> Iterator[str]:
    """Ours against the reference's way and against other codecs, encoding the same clips."""
    codec = full_size("exact", "cpu") if wish.full else load_codec("xy-nano", device="cpu")
    assert isinstance(codec, PackedCodec)
    plan, reference = codec.plan, open_reference(None if wish.full else "xy-nano")
    lengths = emilia_lengths(wish.clips)
    clips = waveforms(lengths, codec.shape.input_rate_hz)
    ways: dict[str, Callable[[], object]] = {
        "ours": lambda: codec.encode(clips),
        "reference's way": lambda: encode_as_reference(reference, plan, clips),
    }
    for other in other_codecs([name for name in wish.others.split(",") if name]):
        own = waveforms(lengths, other.rate_hz)
        ways[f"{other.name}, loop"] = partial(other.loop, own)
        if wish.loop_only:
            continue
        ways[f"{other.name}, padded 8"] = partial(other.padded, own)
    if "encode" in wish.sides:
        yield from _ways_table("encode", codec, ways, sum(lengths), wish)
    if "decode" not in wish.sides:
        return
    codes = codec.encode(clips)
    decoding = {
        "ours": lambda: codec.decode(codes),
        "reference's way": lambda: decode_as_reference(reference, plan, codes),
    }
    yield from _ways_table("decode", codec, decoding, sum(lengths), wish)


def _ways_table(
    title: str,
    codec: Codec,
    ways: Mapping[str, Callable[[], object]],
    audio_seconds: float,
    wish: Wish,
) -> Iterator[str]:
    peak = matmul_peak(clock=wish.clock)
    measured = measure_ways(ways, audio_seconds, wish.repetitions, wish.clock)
    peak = max(peak, matmul_peak(clock=wish.clock))
    yield f"{title}, {codec.identity.name}, {wish.clips} clips of Emilia's lengths, overlap 10 s,"
    yield f"{wish.threads} threads, {wish.clock_name}, matmul peak {peak / 1e9:.0f} GFLOP/s"
    yield ""
    yield HEADER
    yield from (way.line(peak) for way in measured.values())
    yield ""
    for name, way in measured.items():
        if name != "ours":
            yield f"ours over {name}: {paired_ratio(way.timings, measured['ours'].timings)} ×"
    yield ""


def compare_host(wish: Wish) -> Iterator[str]:
    """The worker against Ray Data, tar to Parquet, with the fake codec and with xy-nano."""
    cores = len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory(prefix="xb") as name:
        folder = Path(name)
        _let_workers_import_this_folder()
        start_ray(cores, folder / "ray")
        yield from _host_table(folder / "fake", FakeCodec(), "fake", cores, wish.host_clips, wish)
        nano = load_codec("xy-nano", device="cpu")
        few = max(24, wish.host_clips // 10)
        yield from _host_table(folder / "nano", nano, "xy-nano", cores, few, wish)
        stop_ray()


def _host_table(
    folder: Path, codec: Codec, source: str, cores: int, clips: int, wish: Wish
) -> Iterator[str]:
    shards, spent = write_shards(folder / "shards", 4, clips // 4), Spent()
    tuning = Tuning(decode_threads=cores)
    # Ray starts and keeps the processes that read and write; they are not to be timed.
    run_ray_data(shards[:1], folder / "warm", source, "lent", actors=cores, threads=1)
    for round_number in range(wish.repetitions):
        out = folder / f"ours{round_number}"
        wait_for_quiet()
        trial = run_trial(shards, out, codec, tuning)
        spent.add("ours", trial.wall_seconds, trial.cpu_seconds)
        for form in ("lent", "plain"):
            out = folder / f"{form}{round_number}"
            wait_for_quiet()
            theirs = run_ray_data(shards, out, source, form, actors=cores, threads=1)
            spent.add(f"Ray Data, {form}", theirs.wall_seconds, theirs.cpu_seconds)
            shutil.rmtree(out)
    seconds = shard_seconds(4, clips // 4)
    yield f"tar to Parquet with {source}, {clips} clips, {seconds / 3600:.2f} h, {cores} cores"
    yield ""
    yield from spent.lines(seconds)
    yield ""


def compare_whole(wish: Wish) -> Iterator[str]:
    """End to end against pure encode, on this process's threads."""
    codec = load_codec("xy-nano", device="cpu")
    with tempfile.TemporaryDirectory(prefix="xytok-compare-") as name:
        figures = measure_end_to_end(
            codec,
            Path(name),
            Tuning(decode_threads=1),
            num_shards=10,
            run_seconds=20,
            repetitions=wish.repetitions,
            clock=wish.clock,
        )
    yield (
        f"end to end with {codec.identity.name}, {wish.clock_name}: "
        f"{figures.times_realtime:.1f} × real time, "
        f"{figures.share_of_pure_encode:.1%} of pure encode, encoder busy "
        f"{figures.encoder_busy:.1%} of the wall time, ten shards, overlap 10 s"
    )


def _let_workers_import_this_folder() -> None:
    paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
    os.environ["PYTHONPATH"] = os.pathsep.join(path for path in paths if path)


PARTS = {"codecs": compare_codecs, "host": compare_host, "whole": compare_whole}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--parts", default=",".join(PARTS), help=f"of {', '.join(PARTS)}")
    parser.add_argument("--full", action="store_true", help="the 520 M parameter configuration")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--clips", type=int, default=8)
    parser.add_argument("--host-clips", type=int, default=1200)
    parser.add_argument("--sides", default="encode,decode", help="of the codecs")
    parser.add_argument("--others", default="mimi,dac,encodec", help="codecs to compare with")
    parser.add_argument("--loop-only", action="store_true", help="the others without batches")
    parser.add_argument("--clock", choices=("wall time", "processor time"), default="wall time")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    wish = Wish(
        args.threads,
        args.repetitions,
        args.clips,
        args.full,
        args.host_clips,
        args.clock,
        args.sides,
        args.others,
        args.loop_only,
    )
    print(
        f"{date.today()}, {cpu_name()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    )
    print(f"torch {torch.__version__}, {' '.join(sys.argv)}\n")
    for part in args.parts.split(","):
        for line in PARTS[part](wish):
            print(line, flush=True)


if __name__ == "__main__":
    main()
