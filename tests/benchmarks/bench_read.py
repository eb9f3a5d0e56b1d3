"""How many clips a minute one core reads back: in order, shuffled, in batches, and as tensors.

`make bench-read` writes a synthetic output of Emilia's lengths (2 to 20 s, 8 codebooks, texts) to
a local folder and prints a table. The time is that of the process, on one core.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from pipeline.read.dataset import CodesDataset, open_dataset
from pipeline.read.torch_dataset import TorchCodes
from tests.support.random_parts import write_parts

PART_CLIPS = 4096


def batched(folder: str) -> CodesDataset:
    """Batches of at most 4,000 frames."""
    return open_dataset(folder, shuffle_buffer=8192, batch_frames=4000)


def main() -> None:
    """Print clips a minute for each way to read."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--parts", type=int, default=8)
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="xytok-read-") as folder:
        write_parts(Path(folder), [PART_CLIPS] * wanted.parts, frames=(25, 250))
        ways: dict[str, Callable[[], object]] = {
            "in order": lambda: sum(1 for _ in open_dataset(folder)),
            "shuffled": lambda: sum(1 for _ in open_dataset(folder, shuffle_buffer=8192)),
            "shuffled, conditions": lambda: sum(
                1 for _ in open_dataset(folder, shuffle_buffer=8192, where=(("duration", ">", 0),))
            ),
            "tensors": lambda: sum(1 for _ in TorchCodes(open_dataset(folder))),
            "padded batches": lambda: sum(1 for _ in TorchCodes(batched(folder))),
        }
        clips = wanted.parts * PART_CLIPS
        print(f"{clips:,} clips\n\n| way | clips a minute and core |\n|---|---|")
        for name, read in ways.items():
            read()
            started = time.process_time()
            read()
            print(f"| {name} | {60 * clips / (time.process_time() - started):,.0f} |", flush=True)


if __name__ == "__main__":
    main()
