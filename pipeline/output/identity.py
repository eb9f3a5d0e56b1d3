"""The identity of a run: everything that the bytes of its parts depend on.

A run resumes only in an output with an equal identity. `fleet/run.py` builds it, `run_record.py`
stores it in `run.json`. Provenance and tuning change no byte and are not part of it.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from pipeline.corpus.decode import DECODER
from pipeline.corpus.rules import DEFAULT_DECODER, PYAV_DECODER, ReadRules
from pipeline.errors import IdentityError
from pipeline.output.parquet_layout import ROW_GROUP_ROWS
from pipeline.output.schema import SCHEMA_VERSION
from xy_codec.audio import RESAMPLER
from xy_codec.contract import CodecIdentity


@dataclass(frozen=True, slots=True)
class RunIdentity:
    """Everything, apart from the shard itself, that the bytes of a part depend on.

    `choices` are rules that came later than the others. They are stated only where they are not at
    their default, so that runs without them keep the identity that they always had.
    """

    codec: Mapping[str, Any]
    resampler: str
    decoder: str
    schema_version: int
    row_group_rows: int
    root: str
    where: str | None
    limit: int | None
    require_json: bool
    max_clip_seconds: float | None
    max_member_bytes: int
    choices: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """The identity as it stands in `run.json`."""
        values = asdict(self)
        del values["choices"]
        return values | dict(self.choices)

    def to_json(self) -> str:
        """The identity as canonical JSON, as it stands in the footer of Parquet files."""
        return json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":"))

    @property
    def identity8(self) -> str:
        """The short hash in the names of manifests."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:8]


def build_identity(codec: CodecIdentity, rules: ReadRules) -> RunIdentity:
    """The identity of a run that uses this codec under these rules."""
    return RunIdentity(
        codec=codec.to_dict(),
        resampler=RESAMPLER,
        decoder=decoder_of(rules),
        schema_version=SCHEMA_VERSION,
        row_group_rows=ROW_GROUP_ROWS,
        root=rules.root,
        where=rules.where,
        limit=rules.limit,
        require_json=rules.require_json,
        max_clip_seconds=rules.max_clip_seconds,
        max_member_bytes=rules.max_member_bytes,
        choices=rules.choices(),
    )


def decoder_of(rules: ReadRules) -> str:
    """The decoders of these rules with their versions; raises where one is not installed."""
    if rules.decoding == PYAV_DECODER:
        from pipeline.corpus.pyav_decode import pyav_version

        return f"{DECODER}+{pyav_version()}"
    return DECODER if rules.decoding == DEFAULT_DECODER else rules.decoding


def check_same_identity(
    output: str, existing: Mapping[str, Any], wanted: Mapping[str, Any]
) -> None:
    """Raise when the two identities differ, naming every difference with both values."""
    # Both go through JSON first, so that a tuple equals the list that was read from `run.json`.
    differences = _differences(json.loads(json.dumps(existing)), json.loads(json.dumps(wanted)))
    if differences:
        raise IdentityError(
            f"Output `{output}` was made with other settings than this run has:\n"
            + "\n".join(f"  {line}" for line in differences)
            + "\nexpected the same identity to resume; use a new output, or pass the old settings"
        )


def _differences(
    existing: Mapping[str, Any], wanted: Mapping[str, Any], prefix: str = ""
) -> list[str]:
    lines: list[str] = []
    for name in sorted(set(existing) | set(wanted)):
        old, new = existing.get(name), wanted.get(name)
        if isinstance(old, dict) and isinstance(new, dict):
            lines += _differences(old, new, f"{prefix}{name}.")
        elif old != new:
            lines.append(f"{prefix}{name}: output has `{old}`, this run has `{new}`")
    return lines
