"""How fast the codec encodes here, against the reference's way and against its own products.

    python tests/benchmarks/bench_codec.py                    the released sizes, random weights
    python tests/benchmarks/bench_codec.py --codec xy-nano    a real checkpoint
    python tests/benchmarks/bench_codec.py --tiles 256,512,1024,2048

Rounds are paired: each runs ours, the replay and the reference's way once, and ratios are taken
within a round. `--clock cpu` counts CPU seconds (one thread), for machines that are busy.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from typing import cast

import numpy as np
import torch

from tests.benchmarks.recorded_products import ProductRecorder
from tests.benchmarks.reference_way import encode_as_reference, open_reference
from tests.support.full_size_codec import full_size
from xy_codec import load_codec
from xy_codec.engine.geometry import Geometry
from xy_codec.errors import ConfigError
from xy_codec.xy.model import XYTokenizer
from xy_codec.xy.packed_codec import PackedCodec


def emilia_lengths(count: int) -> np.ndarray:
    """Clip lengths in seconds like Emilia's: 3 to 30, mean 9.9; evenly spread quantiles."""
    quantiles = (np.arange(count) + 0.5) / count
    normal = torch.distributions.Normal(0.0, 1.0).icdf(torch.from_numpy(quantiles)).numpy()
    seconds = np.clip(np.exp(2.12 + 0.57 * normal), 3.0, 30.0)
    return np.random.default_rng(0).permutation(seconds)


def open_codec(
    args: argparse.Namespace, precision: str, compiled: bool | None = None
) -> PackedCodec:
    """The checkpoint asked for, or the released sizes."""
    compiled = args.compile if compiled is None else compiled
    if args.codec is None:
        return full_size(precision, args.device, compiled)
    device = args.device
    codec = load_codec(args.codec, precision=precision, device=device, compiled=compiled)
    return cast(PackedCodec, codec)


def timed(function: Callable[[], object], clock: Callable[[], float]) -> float:
    """Seconds of one call."""
    start = clock()
    function()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return clock() - start


def measure(
    codec: PackedCodec,
    plain: PackedCodec,
    reference: XYTokenizer | None,
    clips: list[np.ndarray],
    args: argparse.Namespace,
) -> list[str]:
    """One line of the table; `plain` is the codec uncompiled, whose products can be seen."""
    clock = time.process_time if args.clock == "cpu" else time.perf_counter
    audio = sum(map(len, clips)) / 16000
    by_length = sorted(clips, key=len)
    few = [
        by_length[len(clips) * k // (2 * args.reference)] for k in range(1, 2 * args.reference, 2)
    ]
    few_audio = sum(map(len, few)) / 16000
    with ProductRecorder() as recorder:
        plain.encode(clips)
    codec.encode(clips[:1])  # whatever compiles does it here
    replay = recorder.prepare_replay()
    rounds = []
    for _ in range(args.rounds):
        ours = timed(lambda: codec.encode(clips), clock)
        alone = timed(replay, clock)
        theirs = 0.0
        if reference is not None:
            theirs = timed(lambda: encode_as_reference(reference, codec.plan, few), clock)
        rounds.append((audio / ours, alone / ours, audio / ours * theirs / max(few_audio, 1e-9)))
    speed, share, ratio = (statistics.median(column) for column in zip(*rounds, strict=True))
    return [
        codec.identity.precision,
        str(codec.geometry.tile_steps),
        f"{speed:.2f}",
        f"{recorder.flop * speed / audio / 1e9:.0f}",
        f"{recorder.flop * speed / audio / share / 1e9:.0f}",
        f"{share:.0%}",
        f"{ratio:.1f}x" if args.reference else "-",
    ]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--codec", help="a checkpoint; default: the released sizes, random weights")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", default="exact", help="exact, fast or exact,fast")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--clips", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--reference", type=int, default=3, metavar="CLIPS", help="0: leave it out")
    parser.add_argument("--tiles", help="numbers of steps to compare; default: the recorded one")
    parser.add_argument("--compile", action="store_true", help="ours compiled")
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    rng = np.random.default_rng(1)
    lengths = emilia_lengths(args.clips)
    clips = [(rng.standard_normal(int(s * 16000)) * 0.1).astype(np.float32) for s in lengths]
    print(
        f"# {args.clips} clips, mean {lengths.mean():.1f} s, {args.threads} threads, {args.clock}"
    )
    print("| precision | steps | audio s/s | GFLOP/s | replay GFLOP/s | share | of reference |")
    print("|---|---|---|---|---|---|---|", flush=True)
    reference = open_reference(args.codec) if args.reference else None
    for precision in args.precision.split(","):
        try:
            plain = open_codec(args, precision, compiled=False)
            codec = open_codec(args, precision) if args.compile else plain
        except ConfigError as error:
            print(f"# {precision} not measured: {error}")
            continue
        print(f"# {codec.identity.name} on {codec.identity.platform}", flush=True)
        for tile in [int(t) for t in (args.tiles or str(codec.geometry.tile_steps)).split(",")]:
            if args.tiles:
                codec.geometry = Geometry(tile, max(tile, codec.geometry.pack_steps))
            print(
                "| " + " | ".join(measure(codec, plain, reference, clips, args)) + " |", flush=True
            )


if __name__ == "__main__":
    main()
