"""The Parquet layout of parts and reject files: row groups, compression, dictionaries, footer keys.

Only constants; `parquet_file.py` writes by them. Readers need the footer keys.
"""

# Table rows per row group. More rows share a dictionary and compress better; fewer rows make it
# cheaper to read a single clip. It is part of the run's identity.
ROW_GROUP_ROWS = 512
ZSTD_LEVEL = 3

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
