"""The columns of parts and reject files: names, types and what they mean.

Every run has the same columns, whatever its corpus, so parts of Emilia and of Emilia-YODAS load
together. Only constants are here; `part.py` and `rejects.py` fill the columns.
"""

from typing import Any

import pyarrow as pa

# Raise it when a column or its meaning changes: runs with another version do not resume.
SCHEMA_VERSION = 1

CODES_TYPE = pa.list_(pa.list_(pa.int16()))

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

# For people, e.g. in a dataset card. Not in the files: the fields' own metadata would change bytes.
COLUMN_MEANINGS = {
    "key": "the clip's name in its shard, without extension",
    "codes": "`codes[k][t]` is codebook k at frame t: no special tokens, no offsets, no delay",
    "num_frames": "frames of the clip",
    "num_samples": "samples of the decoded source, before resampling",
    "sample_rate": "of the source, in Hz",
    "duration": "seconds of decoded audio",
    "text": "of the JSON or a `.txt` member, as it is (may start with a space)",
    "speaker": "of the JSON",
    "language": "of the JSON",
    "dnsmos": "of the JSON",
    "phone_count": "of the JSON (Emilia-YODAS)",
    "json_duration": "the length that the JSON says; differs a little from `duration`",
    "extra": "every other field of the JSON, as JSON",
    "shard": "path or URL of the shard",
    "tar_offset": "where the audio's bytes start in the shard; null in compressed tars",
    "tar_size": "how many bytes the audio has",
    "audio_xxh64": "xxHash of those bytes: equal audio has equal values",
}

_REJECT_FIELDS: list[Any] = [
    pa.field("key", pa.string(), nullable=False),
    pa.field("reason", pa.string(), nullable=False),
    pa.field("stage", pa.string(), nullable=False),
    pa.field("detail", pa.string(), nullable=False),
    pa.field("shard", pa.string(), nullable=False),
    pa.field("tar_offset", pa.int64()),
    pa.field("tar_size", pa.int64()),
]
REJECT_SCHEMA = pa.schema(_REJECT_FIELDS)
