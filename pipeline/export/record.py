"""`export.json`: what an export holds and where it came from, written when all of it is there."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from pipeline.errors import OutputError
from pipeline.output.manifest import WrittenFile
from pipeline.storage.location import redact

EXPORT_RECORD = "export.json"


@dataclass(slots=True)
class SplitCounts:
    """What a split holds."""

    clips: int = 0
    frames: int = 0
    seconds: float = 0.0
    with_reference: int = 0


@dataclass(frozen=True, slots=True)
class ExportRecord:
    """The content of `export.json`.

    Attributes:
        layout: how codes lie in the files.
        offsets: what was added to the codes of each codebook.
        left_out: how many rows, by reason.
        facts: what the format counted, such as clips that were cut.
        trainer_ram_bytes: what the trainer holds in each process; 0 where it streams.
        identity: of the run, as in its `run.json`; `provenance` likewise.
        request: all that the bytes depend on, which a later command must have too.
        command: recorded and never compared.
    """

    format: str
    layout: str
    offsets: tuple[int, ...]
    num_codebooks: int
    codebook_sizes: tuple[int, ...]
    frame_rate_hz: float
    samples_per_frame: int
    input_rate_hz: int
    output_rate_hz: int
    clips: int
    seconds: float
    splits: Mapping[str, SplitCounts]
    left_out: Mapping[str, int]
    facts: Mapping[str, int]
    trainer_ram_bytes: int
    files: tuple[WrittenFile, ...]
    output: str
    identity: Mapping[str, Any]
    provenance: Mapping[str, Any]
    request: Mapping[str, Any]
    command: str

    @property
    def size_bytes(self) -> int:
        """Of all files together."""
        return sum(file.size_bytes for file in self.files)

    def to_json(self) -> bytes:
        """The record as the bytes of `export.json`."""
        return (json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n").encode()


def parse_record(url: str, content: bytes) -> ExportRecord:
    """The record in a file."""
    try:
        values = json.loads(content)
        values["splits"] = {name: SplitCounts(**each) for name, each in values["splits"].items()}
        values["files"] = tuple(WrittenFile(**file) for file in values["files"])
        values |= {name: tuple(values[name]) for name in ("offsets", "codebook_sizes")}
        return ExportRecord(**values)
    except (ValueError, TypeError, KeyError) as error:
        raise OutputError(
            f"`{redact(url)}` cannot be read ({error}); expected the JSON of `xytok export`; use "
            "another destination, or empty this one"
        ) from error
