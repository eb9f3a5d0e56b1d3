"""Megatron's indexed dataset, which NeMo and nanotron read too: `.bin` and its `.idx`."""

import struct
from collections.abc import Iterable
from typing import Any

import numpy as np

from pipeline.export.contract import Limits, Sample, ShardFiles
from pipeline.export.templates import SequenceFormat

_MAGIC = b"MMIDIDX\x00\x00"
_UINT16_VOCABULARY = 65_500
_TYPE_CODES = {"<i4": 4, "<u2": 8}  # Megatron's numbers for the types of ids


class Megatron(SequenceFormat):
    """One document a clip."""

    name = "megatron"

    @property
    def id_type(self) -> np.dtype[Any]:
        """uint16 where Megatron stores a vocabulary so, else int32."""
        return np.dtype("<u2" if self.template.vocabulary < _UINT16_VOCABULARY else "<i4")

    @property
    def limits(self) -> Limits:
        """Megatron maps files into memory; a blend of a few is usual."""
        return Limits(samples=1_000_000)

    def write_shard(self, samples: Iterable[Sample], files: ShardFiles) -> None:
        """A pair of files; its prefix is what `--data-path` takes."""
        kind = self.id_type
        prefix = f"codes_{files.number:05d}_text_document"
        bin_file, lengths = files.open(f"{prefix}.bin"), []
        for sample in samples:
            ids = self.template.sequence(sample).ids.astype(kind)
            bin_file.write(ids.tobytes())
            lengths.append(len(ids))
        sizes = np.array(lengths, "<i8")
        starts = (np.cumsum(sizes) - sizes) * kind.itemsize
        index = files.open(f"{prefix}.idx")
        index.write(_MAGIC + struct.pack("<QB", 1, _TYPE_CODES[kind.str]))
        index.write(struct.pack("<QQ", len(sizes), len(sizes) + 1))
        index.write(sizes.astype("<i4").tobytes() + starts.astype("<i8").tobytes())
        index.write(np.arange(len(sizes) + 1, dtype="<i8").tobytes())
