"""What an output says before any codec is loaded: its identity, and that nothing is left."""

from collections.abc import Sequence
from dataclasses import asdict

from pipeline.backlog import find_backlog
from pipeline.codec_request import CodecRequest
from pipeline.errors import InputError
from pipeline.identity import build_identity
from pipeline.manifest import Manifest, list_manifests
from pipeline.run_record import RunIdentity, RunRecord, check_same_identity, read_run_record
from pipeline.settings import ReadRules
from pipeline.shard import Shard
from pipeline.status import read_all
from pipeline.storage import Storage
from xy_codec.contract import CodecIdentity
from xy_codec.errors import XYCodecError
from xy_codec.source import checkpoint_sha256


def read_finished(
    storage: Storage, output: str, codec: CodecRequest, rules: ReadRules, shards: Sequence[Shard]
) -> list[Manifest] | None:
    """The manifests of `shards` when all are done, so that neither Ray nor weights are needed.

    None when something is left, or when only the loaded codec can tell. The machine may be another
    one than that of the run: it would make no code.
    """
    try:
        record = read_run_record(storage, output)
    except InputError:
        return None
    identity = _checked_identity(output, record, codec, rules, None)
    if identity is None:
        return None
    backlog = find_backlog(shards, list_manifests(storage, output), identity.identity8)
    if backlog.left or backlog.changed:
        return None
    try:
        # Last, because a checkpoint may have to be fetched to be hashed.
        _checked_identity(output, record, codec, rules, checkpoint_sha256(codec.source))
    except (XYCodecError, OSError):
        return None
    return read_done(storage, output, identity.identity8, shards)


def read_done(
    storage: Storage, output: str, identity8: str, shards: Sequence[Shard]
) -> list[Manifest]:
    """The manifests of shards that are done."""
    return read_all([shard.manifest_name(identity8) for shard in shards], output, storage)


def _checked_identity(
    output: str, record: RunRecord, codec: CodecRequest, rules: ReadRules, checkpoint: str | None
) -> RunIdentity | None:
    """The recorded identity; refused where the request states another value."""
    recorded = dict(record.identity["codec"])
    stated = {"precision": codec.precision, "overlap_seconds": codec.overlap_seconds}
    if checkpoint is not None:
        stated["checkpoint_sha256"] = checkpoint
    try:
        known = CodecIdentity(**(recorded | stated))
    except TypeError:
        return None  # written by another version
    identity = build_identity(known, rules)
    check_same_identity(output, record.identity, asdict(identity))
    return identity
