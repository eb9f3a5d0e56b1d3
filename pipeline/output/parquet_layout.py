"""The Parquet layout of parts and reject files: row groups, compression, dictionaries, footer keys.

`parquet_file.py` writes by them. Readers need the footer keys.
"""

from xy_codec.codes_shape import CodesShape

# Table rows per row group. More rows share a dictionary and compress better; fewer rows make it
# cheaper to read a single clip. It is part of the run's identity.
ROW_GROUP_ROWS = 512
ZSTD_LEVEL = 3
# Size of compressed codes over what they hold at most; 1.006 to 1.008 measured on random codes.
_OVERHEAD = 1.008

# Columns whose values repeat. In the other columns (offsets, hashes, texts) they hardly repeat, so
# a dictionary would make the file larger.
DICTIONARY_COLUMNS = (
    "codes.list.element.list.element",
    "sample_rate",
    "speaker",
    "language",
    "dnsmos",
    "shard",
)
REJECT_DICTIONARY_COLUMNS = ("reason", "stage", "shard")

# Keys of the Parquet footer.
IDENTITY_KEY = b"xytok.identity"
PROVENANCE_KEY = b"xytok.provenance"


def codes_bytes_per_second(shape: CodesShape) -> float:
    """How many bytes of a part the codes of a second of speech take."""
    return shape.bits_per_second / 8 * _OVERHEAD
