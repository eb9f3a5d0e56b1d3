"""The columns of parts and rejects, fixed before the first row and equal for every run.

Emilia's and Emilia-YODAS's parts have the same columns and load together.
"""

from typing import Any

import pyarrow as pa

# Raised whenever a column or its meaning changes; part of the run's identity.
SCHEMA_VERSION = 1

# Rows in one row group: enough to share a dictionary, few enough to pick single rows.
ROW_GROUP_ROWS = 512

CODES_TYPE = pa.list_(pa.list_(pa.int16()))

# K-major codes as `[K][T]`; `duration` is of the decoded audio, `json_duration` what its JSON said.
_PART_FIELDS: list[Any] = [
    pa.field("key", pa.string(), nullable=False),
    pa.field("codes", CODES_TYPE, nullable=False),
    pa.field("num_frames", pa.int32(), nullable=False),
    pa.field("num_samples", pa.int64(), nullable=False),
    pa.field("sample_rate", pa.int32(), nullable=False),
    pa.field("duration", pa.float64(), nullable=False),
    pa.field("text", pa.string()),
    pa.field("speaker", pa.string()),
    pa.field("language", pa.string()),
    pa.field("dnsmos", pa.float64()),
    pa.field("phone_count", pa.int64()),
    pa.field("json_duration", pa.float64()),
    pa.field("extra", pa.string()),
    pa.field("shard", pa.string(), nullable=False),
    pa.field("tar_offset", pa.int64()),
    pa.field("tar_size", pa.int64(), nullable=False),
    pa.field("audio_xxh64", pa.uint64(), nullable=False),
]
PART_SCHEMA = pa.schema(_PART_FIELDS)

# Columns whose values repeat; the rest (offsets, hashes, texts) would only pay for a dictionary.
DICTIONARY_COLUMNS = (
    "codes.list.element.list.element",
    "sample_rate",
    "speaker",
    "language",
    "dnsmos",
    "shard",
)

# Keys of the Parquet footer.
IDENTITY_KEY = b"xytok.identity"
PROVENANCE_KEY = b"xytok.provenance"
