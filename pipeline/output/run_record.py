"""`run.json`: written by the first command that works in an output, compared by all later ones.

Only the identity is compared. Provenance and tuning are recorded for people. It holds no secrets.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from pipeline.errors import NotFoundError, OutputError
from pipeline.output.identity import RunIdentity, check_same_identity
from pipeline.storage.client import Storage
from pipeline.storage.location import join, redact

RUN_RECORD = "run.json"


@dataclass(frozen=True, slots=True)
class RunRecord:
    """The content of `run.json`."""

    identity: Mapping[str, Any]
    identity8: str
    provenance: Mapping[str, Any]
    tuning: Mapping[str, Any]

    def to_json(self) -> bytes:
        """The record as the bytes of `run.json`."""
        return (json.dumps(asdict(self), indent=1, sort_keys=True) + "\n").encode()


def read_run_record(storage: Storage, output: str) -> RunRecord:
    """The `run.json` of an output folder."""
    url = join(output, RUN_RECORD)
    try:
        content = storage.read_bytes(url)
    except NotFoundError as error:
        raise NotFoundError(
            f"`{redact(output)}` holds no run; expected the output folder of `xytok tokenize`; "
            "check the path"
        ) from error
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
    """Create `run.json`; if it exists already, raise unless its identity is the same."""
    record = RunRecord(asdict(identity), identity.identity8, provenance, tuning)
    if storage.create_exclusive(join(output, RUN_RECORD), record.to_json()):
        return record
    existing = read_run_record(storage, output)
    check_same_identity(output, existing.identity, record.identity)
    return existing
