"""One part read whole: its batches for checks, its rows for sampling, its codes for comparing."""

import hashlib
import io
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import OutputError
from pipeline.output.manifest import Manifest
from pipeline.storage.client import Storage
from pipeline.storage.location import join
from xy_codec.contract import Codes

# What reading a part raises whose footer or pages are damaged, or whose columns are others.
DAMAGED = (pa.ArrowException, OSError, KeyError, ValueError)


class PartFile:
    """The bytes of a part; a part of ten thousand clips has about 13 MB."""

    def __init__(self, content: bytes) -> None:
        self.size_bytes = len(content)
        self.sha256 = hashlib.sha256(content).hexdigest()
        try:
            self._file = pq.ParquetFile(io.BytesIO(content))
        except (pa.ArrowException, OSError) as error:
            raise OutputError(f"the part is no Parquet file: {error}") from error

    @classmethod
    def read(cls, storage: Storage, output: str, manifest: Manifest) -> "PartFile":
        """The part that a manifest names."""
        return cls(storage.read_bytes(join(output, manifest.part.path)))

    def batches(self, columns: Sequence[str]) -> Iterator[Any]:
        """Record batches of some columns, one row group at a time."""
        for group in range(self._file.num_row_groups):
            table = self._file.read_row_group(group, columns=list(columns), use_threads=False)
            yield from table.combine_chunks().to_batches()

    def columns_without_codes(self) -> Any:
        """Every column but the codes, all rows."""
        names = [name for name in self._file.schema_arrow.names if name != "codes"]
        return self._file.read(columns=names, use_threads=False)

    def codes_of(self, rows: Sequence[int]) -> dict[int, Codes]:
        """The codes of some rows; a row whose lists are uneven comes without frames."""
        found: dict[int, Codes] = {}
        start = 0
        for group in range(self._file.num_row_groups):
            size = self._file.metadata.row_group(group).num_rows
            wanted = [row for row in rows if start <= row < start + size]
            if wanted:
                column = self._file.read_row_group(group, columns=["codes"], use_threads=False)
                kind = column.schema.field("codes").type.value_type.value_type.to_pandas_dtype()
                for row in wanted:
                    found[row] = _matrix(column["codes"][row - start].as_py(), kind)
            start += size
        return found


def _matrix(lists: list[list[int]] | None, kind: Any) -> Codes:
    if not lists or len({len(values) for values in lists}) != 1:
        return np.zeros((len(lists or ()), 0), dtype=kind)
    return np.array(lists, dtype=kind)
