"""Resuming: which shards of a run are done, left or changed, told from the output alone.

`run.py` and `inspect/plan.py` call it. No codec is loaded here: when all shards are done, the same
command ends within seconds, without Ray and without weights.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.corpus.rules import ReadRules
from pipeline.corpus.shard import Shard, list_path
from pipeline.errors import ChangedError, InputError, RefusedError, list_lines
from pipeline.output.identity import RunIdentity, build_identity, check_same_identity
from pipeline.output.index import read_shards
from pipeline.output.manifest import FinishedShard, ManifestName
from pipeline.output.run_record import RunRecord, check_same_format, read_run_record
from pipeline.plural import plural
from pipeline.storage.client import Storage
from pipeline.storage.location import join, redact
from pipeline.worker.codec_request import CodecRequest
from xy_codec.codes_shape import CodesShape
from xy_codec.contract import CodecIdentity
from xy_codec.errors import XYCodecError


@dataclass(frozen=True, slots=True)
class Backlog:
    """The shards of a run by their state.

    `changed` shards were replaced since they were done; `stale` are the manifests of the old files.
    `beyond` are manifests that lists of the same folder may have had when it was longer.
    """

    done: tuple[Shard, ...]
    left: tuple[Shard, ...]
    changed: tuple[Shard, ...]
    stale: tuple[ManifestName, ...]
    beyond: tuple[ManifestName, ...] = ()


def find_backlog(
    shards: Sequence[Shard],
    manifests: Iterable[ManifestName],
    identity8: str,
    *,
    are_all: bool = True,
) -> Backlog:
    """Compare the shards with the manifests of the run that has this identity.

    `are_all` is false where the shards are only some of their folders and manifests.
    """
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
    current = {shard.stem for shard in shards}
    folders = {_folder_of(shard.stem) for shard in shards if shard.listed and are_all}
    beyond = [
        name
        for stem, names in sources.items()
        if folders and _folder_of(stem) in folders and stem not in current
        for name in names
    ]
    return Backlog(tuple(done), tuple(left), tuple(changed), tuple(stale), tuple(beyond))


def _folder_of(stem: str) -> str:
    return stem.rpartition("/")[0]


def admit_changed(
    backlog: Backlog, storage: Storage, output: str, *, redo_changed: bool
) -> Sequence[Shard]:
    """The shards to work on.

    Raises when shards were replaced, or, with `redo_changed`, deletes their old manifests and
    includes them.
    """
    # A tar may lie in the folder as well; only of lists a copy stays in the output.
    gone = [name for name in backlog.beyond if storage.exists(join(output, list_path(name.stem)))]
    if not backlog.changed and not gone:
        return backlog.left
    if not redo_changed:
        changed = [redact(shard.url) for shard in backlog.changed]
        changed += [f"{name.stem}: a list that is no more" for name in gone]
        raise ChangedError(
            f"{plural(len(changed), 'shard was', 'shards were')} replaced since "
            f"`{redact(output)}` was made:\n{list_lines(changed)}\nexpected the same size and "
            "etag as before; put the old files back, or pass `--redo-changed` to tokenize the new "
            "ones"
        )
    # The old manifest goes before the work: it must never stand beside a part it does not describe.
    for name in (*backlog.stale, *gone):
        storage.delete(join(output, name.path))
    return (*backlog.left, *backlog.changed)


def read_if_all_done(
    storage: Storage,
    output: str,
    codec: CodecRequest,
    rules: ReadRules,
    shards: Sequence[Shard],
    manifests: Sequence[ManifestName],
    *,
    are_all: bool = True,
) -> list[FinishedShard] | None:
    """The shards as finished ones, when all are done; then neither Ray nor weights are needed.

    None when a shard is left, or when the codec must be loaded to compare identities. The platform
    of this machine is not compared, because no code would be made on it.
    """
    try:
        record = read_run_record(storage, output)
    except (InputError, RefusedError):
        return None
    identity = check_recorded_identity(output, record, codec, rules)
    # Without the codec nobody knows the default of an option that only one of the two states.
    if identity is None or record.provenance.get("codec_options") != codec.chosen_options():
        return None
    backlog = find_backlog(shards, manifests, identity.identity8, are_all=are_all)
    if backlog.left or backlog.changed or backlog.beyond:
        return None
    try:
        # This check is last because hashing a checkpoint may first have to download it.
        from xy_codec.loading import checkpoint_sha256

        check_recorded_identity(output, record, codec, rules, checkpoint_sha256(codec.source))
    except (XYCodecError, OSError):
        return None
    return read_finished_shards(storage, output, identity.identity8, shards)


def read_finished_shards(
    storage: Storage, output: str, identity8: str, shards: Sequence[Shard]
) -> list[FinishedShard]:
    """Damage and rejects of shards that are done."""
    names = [ManifestName.of(shard, identity8) for shard in shards]
    columns = ("url", "num_holes", "codes", "rejects", "filtered")
    return [
        FinishedShard(*row)
        for table in (read_shards(storage, output, names, columns) if names else ())
        for row in zip(*(table[name].to_pylist() for name in columns), strict=True)
    ]


def check_recorded_identity(
    output: str,
    record: RunRecord,
    codec: CodecRequest,
    rules: ReadRules,
    checkpoint: str | None = None,
) -> RunIdentity | None:
    """The identity in `run.json`; raises where the request states another value.

    None when another version of xytok wrote it, so that only a loaded codec can be compared. An
    option that the request leaves out is taken to be the recorded one.
    """
    check_same_format(output, record)
    recorded = dict(record.identity["codec"])
    recorded["shape"] = CodesShape.of(recorded)
    stated: dict[str, Any] = {"precision": codec.precision}
    stated["options"] = dict(recorded["options"])
    for name, value in codec.chosen_options().items():
        # `5` is written where the codec has 5.0; any other type only the codec can refuse.
        kind = type(recorded["options"].get(name))
        chosen = float(value) if kind is float and type(value) is int else value
        if type(chosen) is not kind:
            return None
        stated["options"][name] = chosen
    if checkpoint is not None:
        stated["checkpoint_sha256"] = checkpoint
    try:
        known = CodecIdentity(**(recorded | stated))
    except TypeError:
        return None
    identity = build_identity(known, rules)
    check_same_identity(output, record.identity, identity.to_dict())
    return identity
