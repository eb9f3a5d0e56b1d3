"""Parts of random codes without an output around them, of any sizes."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pipeline.corpus.metadata import NO_METADATA
from pipeline.corpus.rules import ReadRules
from pipeline.corpus.shard import Shard
from pipeline.output.identity import build_identity
from pipeline.output.parquet_layout import ROW_GROUP_ROWS
from pipeline.output.part import PartRow, PartWriter
from pipeline.storage.client import Storage
from xy_codec.fake import FakeCodec


def write_parts(
    folder: Path, sizes: Sequence[int], frames: tuple[int, int] = (5, 200), prefix: str = ""
) -> Path:
    """Parts of so many clips each; a key is `PREFIX PART-ROW` without the space."""
    rng = np.random.default_rng(11)
    identity = build_identity(FakeCodec().identity, ReadRules())
    for number, size in enumerate(sizes):
        writer = PartWriter(Shard(f"/{number}.tar", f"{number}.tar", 1, "e"), identity)
        for first in range(0, size, ROW_GROUP_ROWS):
            rows = []
            for row in range(first, min(first + ROW_GROUP_ROWS, size)):
                codes = rng.integers(0, 1024, (8, int(rng.integers(*frames))), dtype=np.int16)
                key, samples = f"{prefix}{number}-{row}", codes.shape[1] * 1280
                rows.append(PartRow(key, codes, samples, 16000, NO_METADATA, 0, 9, row))
            writer.add_row_group(rows)
        writer.publish(Storage(), str(folder))
        writer.discard()
    return folder
