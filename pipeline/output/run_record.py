"""`run.json`: written by the first command that works in an output, compared by all later ones.

Only the identity is compared. Provenance and tuning are recorded for people. It holds no secrets.
"""

import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib import metadata
from typing import Any

from pipeline.errors import IdentityError, NotFoundError, OutputError
from pipeline.output.identity import RunIdentity, check_same_identity
from pipeline.output.schema import SCHEMA_VERSION
from pipeline.storage.client import Storage
from pipeline.storage.location import join, redact

logger = logging.getLogger(__name__)
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
        source = _exported_from(storage, output)
        where = f"holds what was exported or merged from `{source}`" if source else "holds no run"
        raise NotFoundError(
            f"`{redact(output)}` {where}; expected the output folder of `xytok tokenize`; "
            + (f"pass `{source}`" if source else "check the path")
        ) from error
    try:
        values = json.loads(content)
        return RunRecord(**{name: values[name] for name in RunRecord.__slots__})
    except (ValueError, TypeError, KeyError) as error:
        raise OutputError(
            f"`{url}` is not a run record ({error}); expected the JSON that `xytok tokenize` "
            "writes; pass an output folder of xytok, or a new one"
        ) from error


def _exported_from(storage: Storage, output: str) -> str:
    """The output that a folder was exported from; empty where it is no export."""
    try:
        return str(json.loads(storage.read_bytes(join(output, "export.json")))["output"])
    except (NotFoundError, ValueError, TypeError, KeyError):
        return ""


def check_same_format(output: str, record: RunRecord) -> None:
    """Raise when another version of xytok made the output, in a format that this one only reads."""
    found = record.identity.get("schema_version")
    if found != SCHEMA_VERSION:
        made_by = record.provenance.get("xytok", "unknown")
        raise IdentityError(
            f"Output `{redact(output)}` was made by xytok {made_by} in format {found}, this is "
            f"xytok {metadata.version('xytok')} with format {SCHEMA_VERSION}; expected the same "
            "format to resume; finish it with that version, or use a new output (reading, "
            "`verify` and `audit` take it as it is)"
        )


def claim_output(
    storage: Storage,
    output: str,
    identity: RunIdentity,
    provenance: Mapping[str, Any],
    tuning: Mapping[str, Any],
    *,
    may_replace: bool = False,
) -> RunRecord:
    """Create `run.json`; if it exists already, raise unless its identity is the same.

    With `may_replace`, which is for outputs without a finished shard, one of another identity is
    replaced.
    """
    record = RunRecord(identity.to_dict(), identity.identity8, provenance, tuning)
    if storage.create_exclusive(join(output, RUN_RECORD), record.to_json()):
        return record
    existing = read_run_record(storage, output)
    if may_replace and existing.identity8 != record.identity8:
        logger.warning(
            "The run before had other settings and finished no shard: `%s` now has those of this "
            "run",
            redact(join(output, RUN_RECORD)),
        )
        storage.write_finished(join(output, RUN_RECORD), record.to_json())
        return record
    check_same_format(output, existing)
    check_same_identity(output, existing.identity, record.identity)
    return existing
