"""What one transformer layer of the released width costs with different numbers of steps a tile.

    python tests/benchmarks/bench_tiles.py --threads 1 --clock cpu

Sizes take turns within a round and the median over rounds is printed; this is
how the recorded number of steps was chosen.
"""

import argparse
import statistics
import time

import torch

from xy_codec.engine.layout import lay_out_in_tiles
from xy_codec.xy.packed_model import PackedBlock
from xy_codec.xy.transformer import Block


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", default="128,256,512,1024,2048,4096")
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    clock = time.process_time if args.clock == "cpu" else time.perf_counter
    sizes = [int(size) for size in args.steps.split(",")]
    total = max(sizes)
    print("| precision | " + " | ".join(f"{size} steps" for size in sizes) + " |")
    print("|---" * (len(sizes) + 1) + "|")
    for dtype in (torch.float32, torch.float16):
        block = PackedBlock(Block(768, 12, 3072).requires_grad_(False), dtype)
        seconds: dict[int, list[float]] = {size: [] for size in sizes}
        steps = torch.randn(total, 768)
        for _ in range(args.rounds):
            for size in sizes:
                layout = lay_out_in_tiles([(total, 496)], total, size, torch.device("cpu"))
                with torch.inference_mode():
                    start = clock()
                    block(steps, layout)
                    seconds[size].append(clock() - start)
        speeds = [14.16e6 * total / statistics.median(seconds[size]) / 1e9 for size in sizes]
        cells = [f"{speed:.0f} GFLOP/s" for speed in speeds]
        print(f"| {str(dtype).removeprefix('torch.')} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
