"""MosaicML Streaming (MDS): binary shards with columns sorted by name, and `index.json`."""

import json
import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.export.contract import Codes, Format, Limits, Sample, Shard, ShardFiles

# The size that upstream's writer has by default; readers are told of it.
_SIZE_LIMIT = 1 << 26
_NUMBERS = {"int": "<i8", "float64": "<f8"}


class Mds(Format):
    """A sample a clip: codes as an array, the rest as text and numbers."""

    name = "mds"
    takes_columns = True
    layout = "[K][T], no offset, no delay"

    def check(self) -> None:
        """Arrays hold integers of any size."""

    @property
    def limits(self) -> Limits:
        """The size alone counts."""
        return Limits(samples=None, size_bytes=_SIZE_LIMIT)

    @property
    def _encodings(self) -> dict[str, str]:
        """The columns and how their values are written, sorted by name."""
        own = {"key": "str", "speaker": "str", "text": "str"}
        further = {name: _encoding_of(kind) for name, kind in self.target.columns.items()}
        codes = {"codes": f"ndarray:{self.shape.dtype.name}"}
        return dict(sorted({**further, **own, **codes}.items()))

    def write_shard(self, samples: Iterable[Sample], files: ShardFiles) -> None:
        """Count, offsets, what the columns are, then the samples."""
        encoded = [self._encode(sample) for sample in samples]
        config = json.dumps(self._config(), sort_keys=True).encode()
        header_bytes = 4 + 4 * (len(encoded) + 1) + len(config)
        offsets = np.cumsum([header_bytes, *map(len, encoded)]).astype("<u4")
        file = files.open(_name(files.number))
        file.write(struct.pack("<I", len(encoded)) + offsets.tobytes() + config)
        for content in encoded:
            file.write(content)

    def finish(
        self,
        folder: str,  # noqa: ARG002  the index names files beside it
        shards: Sequence[Shard],
    ) -> Mapping[str, bytes]:
        """`index.json`, by which the reader finds the shards."""
        entries = []
        for shard in shards:
            (file,) = shard.files
            raw = {"basename": _name(shard.number), "bytes": file.size_bytes, "hashes": {}}
            about = {"raw_data": raw, "samples": shard.samples, "zip_data": None}
            entries.append(self._config() | about)
        index = json.dumps({"shards": entries, "version": 2}, sort_keys=True)
        return {"index.json": index.encode()}

    def _config(self) -> dict[str, Any]:
        kinds = self._encodings
        return {
            "column_encodings": list(kinds.values()),
            "column_names": list(kinds),
            "column_sizes": [8 if kind in _NUMBERS else None for kind in kinds.values()],
            "compression": None,
            "format": "mds",
            "hashes": [],
            "size_limit": _SIZE_LIMIT,
            "version": 2,
        }

    def _encode(self, sample: Sample) -> bytes:
        own = {"key": sample.id, "speaker": sample.speaker, "text": sample.text}
        values = {**sample.columns, **own}
        sizes, body = [], []
        for name, kind in self._encodings.items():
            if name == "codes":
                content = _array_bytes(sample.codes)
            elif kind in _NUMBERS:
                missing = float("nan") if kind == "float64" else -1
                value = missing if values[name] is None else values[name]
                content = np.array(value, _NUMBERS[kind]).tobytes()
            else:
                value = "" if values[name] is None else values[name]
                content = (value if isinstance(value, str) else json.dumps(value)).encode()
            if kind not in _NUMBERS:
                sizes.append(len(content))
            body.append(content)
        return np.array(sizes, "<u4").tobytes() + b"".join(body)


def _name(number: int) -> str:
    return f"shard.{number:05d}.mds"


def _encoding_of(kind: Any) -> str:
    if pa.types.is_floating(kind):
        return "float64"
    # Hashes are uint64, which upstream's `int` cannot hold.
    return "int" if pa.types.is_signed_integer(kind) else "str"


def _array_bytes(codes: Codes) -> bytes:
    """Dimensions, their width, the shape and the values, as upstream's `ndarray` encoding."""
    width = next(w for w in range(3) if max(codes.shape) < 1 << (8 << w))
    head = bytes([codes.ndim << 2 | width])
    shape = np.array(codes.shape, f"<u{1 << width}").tobytes()
    return head + shape + np.ascontiguousarray(codes).tobytes()
