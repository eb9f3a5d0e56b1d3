"""What is left to do: one listing of the inputs against one listing of the manifests."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pipeline.errors import InputError
from pipeline.location import join, redact
from pipeline.manifest import ManifestName
from pipeline.shard import Shard
from pipeline.storage import Storage

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
