"""The columns of parts and reject files: names, types and what they mean.

Runs of one codec have the same columns, whatever their corpus, so parts of Emilia and of
Emilia-YODAS load together. The codec decides the integer type of the codes, and whether there is a
column of side values. `part.py` and `rejects.py` fill the columns.
"""

from typing import Any

import pyarrow as pa

from xy_codec.codes_shape import CodesShape

# Raise it when a column, the identity or its meaning changes: runs of another version are read, but
# not resumed. 2: the identity states the shape of the codes and the hash of the configuration.
SCHEMA_VERSION = 2

SIDE = "side"
_PART_FIELDS: list[Any] = [
    pa.field("key", pa.string(), nullable=False),
    pa.field("codes", pa.list_(pa.list_(pa.int16())), nullable=False),
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
_CODES = 1
_SIDE_FIELD: Any = pa.field(SIDE, pa.list_(pa.float32()), nullable=False)


def part_schema(shape: CodesShape) -> Any:
    """The columns of the parts of a codec; the side values, where it has some, come last."""
    schema = pa.schema(_PART_FIELDS)
    codes_type = pa.list_(pa.list_(pa.from_numpy_dtype(shape.dtype)))
    schema = schema.set(_CODES, schema.field(_CODES).with_type(codes_type))
    return schema.append(_SIDE_FIELD) if shape.side_floats else schema


# For people, e.g. in a dataset card. Not in the files: the fields' own metadata would change bytes.
COLUMN_MEANINGS = {
    "key": "the clip's name in its shard, without extension",
    "codes": "`codes[k][t]` is codebook k at frame t: no special tokens, no offsets, no delay",
    "num_frames": "frames of the clip",
    "num_samples": "samples of the decoded source, before resampling",
    "sample_rate": "of the source, in Hz",
    "duration": "seconds of decoded audio",
    "text": "of the JSON or a `.txt` file, as it is (may start with a space)",
    "speaker": "of the JSON",
    "language": "of the JSON",
    "dnsmos": "of the JSON",
    "phone_count": "of the JSON (Emilia-YODAS)",
    "json_duration": "the length that the JSON says; differs a little from `duration`",
    "extra": "every other field of the JSON, as JSON",
    "shard": "path or URL of the shard",
    "tar_offset": "where the audio is in the shard: the offset of its bytes in a tar (null in "
    "compressed ones), the row in a Parquet file, the line in a list",
    "tar_size": "how many bytes the audio has",
    "audio_xxh64": "xxHash of those bytes: equal audio has equal values",
    SIDE: "what the codec has to say of the clip beside its codes; its decoder takes it",
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
