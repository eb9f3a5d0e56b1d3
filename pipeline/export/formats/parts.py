"""Parts again, but few and large: `xytok merge`.

Every column stays, also shard and offset, which lead back to the original. A part of a run says in
its footer from which shard it is; a merged one cannot, and the column `shard` does.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from importlib import metadata
from typing import Any

from pipeline.errors import UsageError
from pipeline.export.contract import Format, Limits, Sample, ShardFiles, batches
from pipeline.export.source import MERGED_FORMAT
from pipeline.output.parquet_file import arrow_table, parquet_writer
from pipeline.output.parquet_layout import (
    DICTIONARY_COLUMNS,
    IDENTITY_KEY,
    PROVENANCE_KEY,
    ROW_GROUP_ROWS,
)
from pipeline.output.part import codes_array
from pipeline.output.part_size import codes_bytes_per_second
from pipeline.output.schema import SCHEMA_VERSION, part_schema
from pipeline.plural import plural
from xy_codec.codes_shape import CodesShape

# What a row has beside codes and text: keys, offsets, hashes and the JSON, compressed.
_ROW_BYTES = 80


class Parts(Format):
    """The rows of a run as they are."""

    name = MERGED_FORMAT
    keeps_rows = True
    layout = "[K][T], no offset, no delay"

    def check(self) -> None:
        """Refuse fewer codebooks than the run has: the footer says which codec made the codes."""
        whole = CodesShape.of(self.target.codec).num_codebooks
        if self.shape.num_codebooks != whole:
            raise UsageError(
                f"`--to parts` keeps rows as they are, with {plural(whole, 'codebook')}; expected "
                "no `--codebooks`; leave it out, and read the first ones with `num_codebooks`"
            )

    @property
    def limits(self) -> Limits:
        """Files that storage and readers like."""
        return Limits(samples=None, size_bytes=512_000_000)

    def sample_bytes(self, num_frames: int, text_bytes: int) -> int:
        """About what a row takes in the file."""
        seconds = num_frames * self.target.frame_seconds
        return round(seconds * codes_bytes_per_second(self.shape)) + text_bytes + _ROW_BYTES

    def write_shard(self, samples: Iterable[Sample], files: ShardFiles) -> None:
        """One part."""
        file, schema = files.open(f"part-{files.number:05d}.parquet"), part_schema(self.shape)
        with parquet_writer(file, schema, DICTIONARY_COLUMNS, self._footer()) as writer:
            for group in batches(samples, ROW_GROUP_ROWS):
                writer.write_table(arrow_table(self._columns(group), schema))

    def _columns(self, group: Sequence[Sample]) -> Mapping[str, Any]:
        columns: dict[str, Any] = {
            name: [sample.columns[name] for sample in group] for name in self.target.columns
        }
        codes: list[Any] = [sample.codes for sample in group]
        return columns | {"codes": codes_array(codes, self.shape)}

    def _footer(self) -> dict[bytes, bytes]:
        compact: Any = {"sort_keys": True, "separators": (",", ":")}
        provenance = {"xytok": metadata.version("xytok"), "schema_version": SCHEMA_VERSION}
        return {
            IDENTITY_KEY: json.dumps(self.target.identity, **compact).encode(),
            PROVENANCE_KEY: json.dumps(provenance, sort_keys=True).encode(),
        }
