"""What one transformer layer of the released width costs at different row counts of a tile.

    python tests/benchmarks/bench_rows.py --threads 1 --clock cpu

Sizes take turns within a round and the median over rounds is printed; this is
how the recorded row count was chosen.
"""

import argparse
import statistics
import time

import torch

from xy_codec.engine.packing import lay_out
from xy_codec.engine.product import freeze_products
from xy_codec.xy.transformer import Block


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rows", default="128,256,512,1024,2048,4096")
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    clock = time.process_time if args.clock == "cpu" else time.perf_counter
    sizes = [int(size) for size in args.rows.split(",")]
    total = max(sizes)
    print("| precision | " + " | ".join(f"{size} rows" for size in sizes) + " |")
    print("|---" * (len(sizes) + 1) + "|")
    for dtype in (torch.float32, torch.float16):
        block = Block(768, 12, 3072).requires_grad_(False)
        block.self_attn.freeze(dtype)
        freeze_products(block, dtype)
        seconds: dict[int, list[float]] = {size: [] for size in sizes}
        rows = torch.randn(total, 768)
        for _ in range(args.rounds):
            for size in sizes:
                layout = lay_out([(total, 496)], size, torch.device("cpu"))
                with torch.inference_mode():
                    start = clock()
                    block(rows, layout)
                    seconds[size].append(clock() - start)
        speeds = [14.16e6 * total / statistics.median(seconds[size]) / 1e9 for size in sizes]
        cells = [f"{speed:.0f} GFLOP/s" for speed in speeds]
        print(f"| {str(dtype).removeprefix('torch.')} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
