"""The columns of the index (`index.py`), and how manifests become its rows.

A row holds everything that its manifest says. URLs are without user, password and query.
"""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import pyarrow as pa

from pipeline.output.manifest import Manifest, ManifestName
from pipeline.output.parquet_file import arrow_table
from pipeline.storage.location import redact

# The path of the manifest below the output: rows are sorted and found by it.
KEY = "manifest"
SIZE = "manifest_size_bytes"
DICTIONARY_COLUMNS = (
    "identity8",
    "rejects_by_reason.list.element.reason",
    "holes.list.element.kind",
    "languages.list.element.language",
)
_COUNTS = (
    *("source_size_bytes", "members", "clips_seen", "codes", "rejects", "filtered", "frames"),
    "samples",
)
_FILES = ("part", "reject_file")


def _struct_list(**columns: Any) -> Any:
    fields = [pa.field(name, kind) for name, kind in columns.items()]
    return pa.list_(pa.field("element", pa.struct(fields), nullable=False))


def _file_fields(file: str) -> list[Any]:
    kinds = {"path": pa.string(), "size_bytes": pa.int64(), "sha256": pa.string()}
    return [(f"{file}_{name}", kind) for name, kind in kinds.items()] + [
        (f"{file}_rows", pa.int64())
    ]


INDEX_SCHEMA = pa.schema(
    [
        pa.field(name, kind, nullable=False)
        for name, kind in [
            (KEY, pa.string()),
            (SIZE, pa.int64()),
            ("shard", pa.string()),
            ("identity8", pa.string()),
            ("source8", pa.string()),
            ("url", pa.string()),
            ("source_etag", pa.string()),
            *((name, pa.int64()) for name in _COUNTS),
            ("source_seconds", pa.float64()),
            *_file_fields("part"),
            *_file_fields("reject_file"),
            ("rejects_by_reason", _struct_list(reason=pa.string(), count=pa.int64())),
            ("num_holes", pa.int64()),
            ("holes", _struct_list(offset=pa.int64(), size_bytes=pa.int64(), kind=pa.string())),
            ("limited", pa.bool_()),
        ]
    ]
    + [
        # Null where an older version wrote the manifest.
        pa.field("smallest_key", pa.string()),
        pa.field("largest_key", pa.string()),
        pa.field(
            "languages",
            _struct_list(
                language=pa.string(), clips=pa.int64(), seconds=pa.float64(), speakers=pa.int64()
            ),
        ),
    ]
)


def index_rows(names: Sequence[ManifestName], manifests: Sequence[Manifest]) -> pa.Table:
    """The rows of these manifests, which have these names."""
    columns: dict[str, Any] = {
        KEY: [name.path for name in names],
        SIZE: [name.size_bytes for name in names],
        "identity8": [name.identity8 for name in names],
        "source8": [name.source8 for name in names],
        "url": [redact(manifest.url) for manifest in manifests],
        "rejects_by_reason": [
            [{"reason": reason, "count": count} for reason, count in each.rejects_by_reason.items()]
            for each in manifests
        ],
        "num_holes": [len(manifest.holes) for manifest in manifests],
        "holes": [[asdict(hole) for hole in manifest.holes] for manifest in manifests],
        "smallest_key": [each.key_range[0] if each.key_range else None for each in manifests],
        "largest_key": [each.key_range[1] if each.key_range else None for each in manifests],
        "languages": [
            None if each.languages is None else [asdict(count) for count in each.languages]
            for each in manifests
        ],
    }
    for file in _FILES:
        written = [getattr(manifest, file) for manifest in manifests]
        for name in ("path", "size_bytes", "sha256", "rows"):
            columns[f"{file}_{name}"] = [getattr(each, name) for each in written]
    for field in INDEX_SCHEMA.names:
        if field not in columns:
            columns[field] = [getattr(manifest, field) for manifest in manifests]
    return arrow_table(columns, INDEX_SCHEMA)
