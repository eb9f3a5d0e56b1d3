"""What an output says before any codec is loaded: its identity, and that nothing is left."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

from pipeline.corpus.rules import ReadRules
from pipeline.corpus.shard import Shard
from pipeline.errors import InputError
from pipeline.output.events import read_events
from pipeline.output.identity import RunIdentity, build_identity, check_same_identity
from pipeline.output.manifest import ManifestName, ShardEnding, read_named_manifests
from pipeline.output.run_record import RunRecord, read_run_record
from pipeline.storage.client import Storage
from pipeline.storage.location import join, redact
from pipeline.worker.codec_request import CodecRequest
from xy_codec.contract import CodecIdentity
from xy_codec.errors import XYCodecError
from xy_codec.weights.source import checkpoint_sha256

_SHOWN = 10


@dataclass(frozen=True, slots=True)
class Backlog:
    """The shards of a run by what has to happen to them."""

    done: tuple[Shard, ...]
    left: tuple[Shard, ...]
    changed: tuple[Shard, ...]
    stale: tuple[ManifestName, ...]


def find_backlog(
    shards: Sequence[Shard], manifests: Iterable[ManifestName], identity8: str
) -> Backlog:
    """Sort shards into done, left and changed; `stale` are the manifests of the changed ones."""
    sources: dict[str, list[ManifestName]] = {}
    for name in manifests:
        if name.identity8 == identity8:
            sources.setdefault(name.stem, []).append(name)
    done, left, changed, stale = [], [], [], []
    for shard in shards:
        names = sources.get(shard.stem, [])
        old = [name for name in names if name.source8 != shard.source8]
        if old:
            changed.append(shard)
            stale += old
        elif names:
            done.append(shard)
        else:
            left.append(shard)
    return Backlog(tuple(done), tuple(left), tuple(changed), tuple(stale))


def admit_changed(
    backlog: Backlog, storage: Storage, output: str, *, redo_changed: bool
) -> Sequence[Shard]:
    """The shards to work on; replaced ones are refused, or their old manifests withdrawn."""
    if not backlog.changed:
        return backlog.left
    if not redo_changed:
        raise InputError(
            f"{len(backlog.changed)} shards were replaced since `{redact(output)}` was made from "
            f"them:\n{named(backlog.changed)}\nexpected the same size and etag as before; put the "
            "old files back, or pass `--redo-changed` to tokenize the new ones"
        )
    # Before the work: a part must never lie beside a manifest that describes another one.
    for name in backlog.stale:
        storage.delete(join(output, name.path))
    return (*backlog.left, *backlog.changed)


def named(shards: Sequence[Shard]) -> str:
    """A few shards by URL, one a line."""
    lines = [f"  {redact(shard.url)}" for shard in shards[:_SHOWN]]
    if len(shards) > _SHOWN:
        lines.append(f"  … and {len(shards) - _SHOWN} more")
    return "\n".join(lines)


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
    names = [ManifestName.of(s, identity8) for s in untold]
    manifests = read_named_manifests(storage, output, names)
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
