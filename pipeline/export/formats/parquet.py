"""Parquet with codes `[T][K]` and the types of Hugging Face `datasets` in the footer.

Parts of a run are Parquet too, with codes `[K][T]`; `datasets` gives fixed shapes only where the
first dimension alone varies.
"""

import json
from collections.abc import Iterable, Sequence
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.export.contract import Codes, Format, Limits, Sample, ShardFiles, batches
from pipeline.output.parquet_layout import ZSTD_LEVEL

_GROUP_ROWS = 512
_REPEATING = ("speaker", "language", "dnsmos", "sample_rate", "shard")
_TYPES = {"double": "float64", "float": "float32"}


class Parquet(Format):
    """A table row a clip."""

    name = "parquet"
    takes_columns = True
    takes_reference = True
    layout = "[T][K], no offset, no delay"

    def check(self) -> None:
        """Columns are typed by the codec."""

    @property
    def limits(self) -> Limits:
        """Files of some hundred MB, as hubs like them."""
        return Limits(samples=100_000)

    def write_shard(self, samples: Iterable[Sample], files: ShardFiles) -> None:
        """One file."""
        schema = self._schema()
        features = {"info": {"features": {f.name: self._feature(f) for f in schema}}}
        described = schema.with_metadata({b"huggingface": json.dumps(features).encode()})
        file = pa.PythonFile(files.open(f"codes-{files.number:05d}.parquet"), mode="w")
        with pq.ParquetWriter(
            file,
            described,
            compression="zstd",
            compression_level=ZSTD_LEVEL,
            use_dictionary=cast(Any, _dictionaries(described.names)),
        ) as writer:
            for group in batches(samples, _GROUP_ROWS):
                arrays = [self._array(group, field) for field in schema]
                writer.write_table(pa.Table.from_arrays(arrays, schema=described))

    def _schema(self) -> Any:
        codes = pa.list_(pa.list_(pa.from_numpy_dtype(self.shape.dtype)))
        kinds = {"key": pa.string(), "codes": codes, "num_frames": pa.int32()}
        kinds |= {"duration": pa.float64(), "text": pa.string(), "speaker": pa.string()}
        kinds |= {"language": pa.string()}
        if self.target.with_reference:
            kinds |= {"ref_codes": codes, "ref_text": pa.string()}
        return pa.schema([pa.field(*each) for each in {**self.target.columns, **kinds}.items()])

    def _feature(self, field: Any) -> dict[str, Any]:
        if field.name in ("codes", "ref_codes"):
            shape = [None, self.shape.num_codebooks]
            return {"shape": shape, "dtype": str(self.shape.dtype), "_type": "Array2D"}
        if pa.types.is_list(field.type):
            kind = str(field.type.value_type)
            value = {"dtype": _TYPES.get(kind, kind), "_type": "Value"}
            return {"feature": value, "_type": "List"}
        return {"dtype": _TYPES.get(str(field.type), str(field.type)), "_type": "Value"}

    def _array(self, samples: Sequence[Sample], field: Any) -> Any:
        match field.name:
            case "codes":
                return self._codes_array([sample.codes for sample in samples])
            case "ref_codes":
                return self._codes_array([sample.reference_codes for sample in samples])
            case "ref_text":
                values: list[Any] = [s.reference.text if s.reference else None for s in samples]
            case "key":
                values = [sample.id for sample in samples]
            case "num_frames":
                values = [sample.codes.shape[1] for sample in samples]
            case "duration" | "text" | "speaker" | "language":
                values = [getattr(sample, field.name) for sample in samples]
            case _:
                values = [sample.columns[field.name] for sample in samples]
        return pa.array(values, field.type)

    def _codes_array(self, matrices: Sequence[Codes | None]) -> Any:
        frames = [0 if matrix is None else matrix.shape[1] for matrix in matrices]
        whole = [matrix.T.reshape(-1) for matrix in matrices if matrix is not None]
        values = np.concatenate(whole) if whole else np.zeros(0, self.shape.dtype)
        books = np.arange(sum(frames) + 1, dtype=np.int32) * self.shape.num_codebooks
        inner = pa.ListArray.from_arrays(pa.array(books, pa.int32()), pa.array(values))
        ends = np.cumsum([0, *frames], dtype=np.int32)
        missing: Any = pa.array([matrix is None for matrix in matrices])
        return pa.ListArray.from_arrays(pa.array(ends, pa.int32()), inner, mask=missing)


def _dictionaries(names: Sequence[str]) -> list[str]:
    codes = [name for name in ("codes", "ref_codes") if name in names]
    return [f"{name}.list.element.list.element" for name in codes] + [
        name for name in _REPEATING if name in names
    ]
