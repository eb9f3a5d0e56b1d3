"""`run.json`: what all work in one output folder shares, written once and compared ever after.

Identity must match to resume; provenance is recorded, never compared; tuning is free. No secrets.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from pipeline.errors import IdentityError, OutputError
from pipeline.location import join
from pipeline.storage import Storage

RUN_RECORD = "run.json"


@dataclass(frozen=True, slots=True)
class RunIdentity:
    """Everything a part's bytes depend on beside its shard."""

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

    def to_json(self) -> str:
        """The identity as canonical JSON, also for the Parquet footer."""
        return json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))

    @property
    def identity8(self) -> str:
        """The short hash in the names of manifests."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:8]


@dataclass(frozen=True, slots=True)
class RunRecord:
    """The content of `run.json`."""

    identity: Mapping[str, Any]
    identity8: str
    provenance: Mapping[str, Any]
    tuning: Mapping[str, Any]

    def to_json(self) -> bytes:
        """The record as bytes."""
        return (json.dumps(asdict(self), indent=1, sort_keys=True) + "\n").encode()


def read_run_record(storage: Storage, output: str) -> RunRecord:
    """The record of an output folder."""
    url = join(output, RUN_RECORD)
    content = storage.read_bytes(url)
    try:
        values = json.loads(content)
        return RunRecord(**{name: values[name] for name in RunRecord.__slots__})
    except (ValueError, TypeError, KeyError) as error:
        raise OutputError(
            f"`{url}` is not a run record ({error}); expected the JSON that `xytok tokenize` "
            "writes; pass an output folder of xytok, or a new one"
        ) from error


def claim_output(
    storage: Storage,
    output: str,
    identity: RunIdentity,
    provenance: Mapping[str, Any],
    tuning: Mapping[str, Any],
) -> RunRecord:
    """Create `run.json`, or compare with the one that is there and refuse another identity."""
    record = RunRecord(asdict(identity), identity.identity8, provenance, tuning)
    if storage.create_exclusive(join(output, RUN_RECORD), record.to_json()):
        return record
    existing = read_run_record(storage, output)
    check_same_identity(output, existing.identity, record.identity)
    return existing


def check_same_identity(
    output: str, existing: Mapping[str, Any], wanted: Mapping[str, Any]
) -> None:
    """Refuse to mix codes that are not comparable; every difference is named with both values."""
    # Through JSON, so that tuples and lists, or 10 and 10.0, do not count as differences.
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
