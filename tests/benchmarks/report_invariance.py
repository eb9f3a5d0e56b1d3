"""Reports whether a clip's codes and waveform depend on company, place, pack size or threads.

    python tests/benchmarks/report_invariance.py                       the released sizes
    python tests/benchmarks/report_invariance.py --codec xy-nano --device cuda --precision fast

Every line is a number of clips that differ from themselves alone, of a number of trials: 0 is the
promise. Where it is not 0, the flip rate of single codes is printed as well.
"""

import argparse
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch

from tests.benchmarks.bench_codec import emilia_lengths, open_codec
from xy_codec.xy.packed_codec import PackedCodec

Arrays = list[np.ndarray]


class Report:
    """Compares arrays with those of clips alone, and prints one line a question."""

    def __init__(self, alone: Arrays) -> None:
        self.alone = alone

    def line(self, question: str, trials: list[tuple[int, np.ndarray]]) -> None:
        """Print how many of `(clip, array)` differ."""
        pairs = [(self.alone[clip], array) for clip, array in trials]
        wrong = sum(not np.array_equal(a, b) for a, b in pairs)
        flips = np.concatenate([(a != b).ravel() for a, b in pairs]).mean() if wrong else 0.0
        print(
            f"{question:<44} {wrong:>5} of {len(pairs)} differ   flip rate {flips:.3%}", flush=True
        )


def random_company(
    run: Callable[[Arrays], Arrays], clips: Arrays, batches: int, largest: int
) -> list[tuple[int, np.ndarray]]:
    """Each clip in random batches."""
    rng = np.random.default_rng(1)
    trials = []
    for _ in range(batches):
        chosen = rng.integers(0, len(clips), rng.integers(2, largest + 1)).tolist()
        trials += list(zip(chosen, run([clips[i] for i in chosen]), strict=True))
    return trials


def every_place(codec: PackedCodec, clip: np.ndarray, step: int) -> list[tuple[int, np.ndarray]]:
    """The first clip behind fillers that move it through a tile."""
    trials = []
    for steps in range(4, codec.geometry.tile_steps + 4, step):
        filler = np.full(steps * 320 - 640, 0.01, np.float32)
        trials.append((0, codec.encode([filler, clip])[1]))
    return trials


def main() -> None:
    """Run the trials."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--codec", help="a checkpoint; default: the released sizes, random weights")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", default="exact")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--batches", type=int, default=20)
    parser.add_argument("--clips", type=int, default=8)
    parser.add_argument("--longest", type=float, default=30.0, metavar="SECONDS")
    parser.add_argument("--largest", type=int, default=32, metavar="CLIPS", help="of a batch")
    parser.add_argument("--steps", type=int, default=4, help="between two places")
    args = parser.parse_args()
    codec = open_codec(args, args.precision)
    lengths = np.minimum(emilia_lengths(args.clips), args.longest)
    rng = np.random.default_rng(0)
    clips = [(rng.standard_normal(int(s * 16000)) * 0.1).astype(np.float32) for s in lengths]
    print(f"{codec.identity.name}, {args.precision}, {codec.identity.platform}", flush=True)
    codes = [codec.encode([clip])[0] for clip in clips]
    report = Report(codes)
    report.line(
        "codes, random company", random_company(codec.encode, clips, args.batches, args.largest)
    )
    report.line("codes, every place in a tile", every_place(codec, clips[0], args.steps))
    for threads in (1, 2):
        torch.set_num_threads(threads)
        report.line(f"codes, {threads} threads", list(enumerate(codec.encode(clips))))
    geometry = codec.geometry
    codec.geometry = replace(geometry, pack_steps=geometry.tile_steps)
    report.line("codes, packs of one tile", list(enumerate(codec.encode(clips))))
    codec.geometry = geometry
    waves = Report([codec.decode([matrix])[0] for matrix in codes])
    trials = random_company(codec.decode, codes, max(1, args.batches // 4), args.largest)
    waves.line("waveforms, random company", trials)


if __name__ == "__main__":
    main()
