"""Sequences of ids for language models: Orpheus and Vyvo take Parquet, LLaSA a memmap."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.export.contract import Limits, Sample, ShardFiles, batches, npy_bytes
from pipeline.export.templates import SequenceFormat
from pipeline.output.parquet_layout import ZSTD_LEVEL

_NO_LOSS = -100
_GROUP_ROWS = 512
_LLASA_LENGTH = 2048
_FIELDS: list[Any] = [
    pa.field("input_ids", pa.list_(pa.int32())),
    pa.field("labels", pa.list_(pa.int32())),
    pa.field("attention_mask", pa.list_(pa.int8())),
    pa.field("speaker_id", pa.string()),
    pa.field("duration", pa.float64()),
    pa.field("reference_text", pa.string()),
]


class Flat(SequenceFormat):
    """Sequences by `--template`."""

    name = "flat"
    takes_columns = True

    def check(self) -> None:
        """LLaSA's trainer looks for `train_…` and `val_…` in one folder."""
        super().check()
        self.in_one_folder = self.template.name == "llasa"

    @property
    def limits(self) -> Limits:
        """LLaSA's trainer opens one file, Parquet files may be many."""
        return Limits(samples=None if self.template.name == "llasa" else 50_000)

    def sample_bytes(self, num_frames: int, text_bytes: int) -> int:
        """Two columns of int32."""
        return 8 * num_frames * self.shape.num_codebooks + 3 * text_bytes + 64

    def write_shard(self, samples: Iterable[Sample], files: ShardFiles) -> None:
        """One Parquet file, or the memmap of LLaSA."""
        if self.template.name == "llasa":
            self._write_memmap(samples, files)
            return
        further = {name: pa.field(name, kind) for name, kind in self.target.columns.items()}
        schema = pa.schema(list((further | {field.name: field for field in _FIELDS}).values()))
        file = pa.PythonFile(files.open(f"ids-{files.number:05d}.parquet"), mode="w")
        with pq.ParquetWriter(
            file, schema, compression="zstd", compression_level=ZSTD_LEVEL
        ) as writer:
            for group in batches(samples, _GROUP_ROWS):
                rows = [self._row(sample) for sample in group]
                writer.write_table(pa.Table.from_pylist(rows, schema))

    def _row(self, sample: Sample) -> dict[str, Any]:
        sequence = self.template.sequence(sample)
        labels = sequence.ids.copy()
        labels[: sequence.num_prompt] = _NO_LOSS
        return {
            **sample.columns,
            "input_ids": sequence.ids,
            "labels": labels,
            "attention_mask": np.ones(len(labels), np.int8),
            "speaker_id": sample.speaker,
            "duration": sample.duration,
            "reference_text": sample.text,
        }

    def _write_memmap(self, samples: Iterable[Sample], files: ShardFiles) -> None:
        pad = self.template.tokens.id_of("<|eot_id|>")  # Llama's end, with which LLaSA pads
        file = files.open(f"{files.split}_input_ids.memmap")
        rows = truncated = 0
        for sample in samples:
            ids = self.template.sequence(sample).ids
            row = np.full(_LLASA_LENGTH, pad, "<i4")
            row[: len(ids)] = ids[:_LLASA_LENGTH]
            file.write(row.tobytes())
            rows, truncated = rows + 1, truncated + (len(ids) > _LLASA_LENGTH)
        files.facts["truncated"] = truncated
        files.open(f"{files.split}_input_ids_shape.npy").write(
            npy_bytes(np.array([rows, _LLASA_LENGTH]))
        )
