"""How many clips a minute one core reads back: in order, shuffled, in batches, and as tensors.

`make bench-read` writes a synthetic output of Emilia's lengths (2 to 20 s, 8 codebooks, texts) to
a local folder and prints a table. The time is that of the process, on one core.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from pipeline.corpus.metadata import NO_METADATA
from pipeline.corpus.rules import ReadRules
from pipeline.corpus.shard import Shard
from pipeline.output.identity import build_identity
from pipeline.output.parquet_layout import ROW_GROUP_ROWS
from pipeline.output.part import PartRow, PartWriter
from pipeline.read.dataset import CodesDataset, open_dataset
from pipeline.read.torch_dataset import TorchCodes
from pipeline.storage.client import Storage
from xy_codec.fake import FakeCodec

PART_CLIPS = 4096


def write_output(folder: Path, parts: int) -> None:
    """Parts of random codes, 25 to 250 frames a clip."""
    rng = np.random.default_rng(0)
    identity = build_identity(FakeCodec().identity, ReadRules())
    for number in range(parts):
        writer = PartWriter(Shard(f"/{number}.tar", f"{number}.tar", 1, "e"), identity)
        for first in range(0, PART_CLIPS, ROW_GROUP_ROWS):
            rows = []
            for row in range(first, first + ROW_GROUP_ROWS):
                codes = rng.integers(0, 1024, (8, int(rng.integers(25, 250))), dtype=np.int16)
                samples = codes.shape[1] * 1280
                rows.append(PartRow(f"{number}-{row}", codes, samples, 16000, NO_METADATA, 0, 9, 0))
            writer.add_row_group(rows)
        writer.publish(Storage(), str(folder))
        writer.discard()


def batched(folder: str) -> CodesDataset:
    """Batches of at most 4,000 frames."""
    return open_dataset(folder, shuffle_buffer=8192, batch_frames=4000)


def main() -> None:
    """Print clips a minute for each way to read."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--parts", type=int, default=8)
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="xytok-read-") as folder:
        write_output(Path(folder), wanted.parts)
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
