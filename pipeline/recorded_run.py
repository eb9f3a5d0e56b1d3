"""What an output says before any codec is loaded: its identity, and that nothing is left."""

from collections.abc import Sequence
from dataclasses import asdict

from pipeline.backlog import find_backlog
from pipeline.codec_request import CodecRequest
from pipeline.errors import InputError
from pipeline.events import read_events
from pipeline.identity import build_identity
from pipeline.location import redact
from pipeline.manifest import ManifestName
from pipeline.run_record import RunIdentity, RunRecord, check_same_identity, read_run_record
from pipeline.settings import ReadRules
from pipeline.shard import Shard
from pipeline.shard_ending import ShardEnding
from pipeline.status import read_all
from pipeline.storage import Storage
from xy_codec.contract import CodecIdentity
from xy_codec.errors import XYCodecError
from xy_codec.source import checkpoint_sha256


def read_finished(
    storage: Storage,
    output: str,
    codec: CodecRequest,
    rules: ReadRules,
    shards: Sequence[Shard],
    manifests: Sequence[ManifestName],
) -> list[ShardEnding] | None:
    """How `shards` ended when all are done, so that neither Ray nor weights are needed.

    None when something is left, or when only the loaded codec can tell. The machine may be another
    one than that of the run: it would make no code.
    """
    try:
        record = read_run_record(storage, output)
    except InputError:
        return None
    identity = checked_identity(output, record, codec, rules)
    if identity is None:
        return None
    backlog = find_backlog(shards, manifests, identity.identity8)
    if backlog.left or backlog.changed:
        return None
    try:
        # Last, because a checkpoint may have to be fetched to be hashed.
        checked_identity(output, record, codec, rules, checkpoint_sha256(codec.source))
    except (XYCodecError, OSError):
        return None
    return read_endings(storage, output, identity.identity8, shards)


def read_endings(
    storage: Storage, output: str, identity8: str, shards: Sequence[Shard]
) -> list[ShardEnding]:
    """How shards that are done ended: by the event logs, which are few files.

    Only where a killed driver left no event, by the manifest.
    """
    if not shards:
        return []
    told: dict[tuple[str, str], ShardEnding] = {}
    for event in read_events(storage, output):
        if event.get("event") == "shard_done" and "source8" in event:
            ending = ShardEnding.of_event(event)
            told[ending.url, str(event["source8"])] = ending
    untold = [s for s in shards if (redact(s.url), s.source8) not in told]
    manifests = read_all([s.manifest_name(identity8) for s in untold], output, storage)
    known = (told.get((redact(s.url), s.source8)) for s in shards)
    return [*filter(None, known), *map(ShardEnding.of_manifest, manifests)]


def checked_identity(
    output: str,
    record: RunRecord,
    codec: CodecRequest,
    rules: ReadRules,
    checkpoint: str | None = None,
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
