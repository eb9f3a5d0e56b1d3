"""Safetensors in several files, beside an index that says which tensor lies in which of them."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xy_codec.errors import CheckpointError
from xy_codec.weights.source import files_sha256

if TYPE_CHECKING:
    from xy_codec.weights.checkpoint import Checkpoint

_SUFFIX = ".safetensors.index.json"


def find_index(path: Path) -> Path | None:
    """The index that a path is, or that lies in a folder."""
    found = sorted(path.glob(f"*{_SUFFIX}")) if path.is_dir() else [path]
    return next((file for file in found if file.name.endswith(_SUFFIX)), None)


def shard_files(index: Path) -> list[Path]:
    """The shards in the order of their names, in which they are hashed."""
    return [index.parent / name for name in sorted(set(_weight_map(index).values()))]


def read_shards(index: Path) -> "Checkpoint":
    """Read the tensors that the index names, each from its own shard."""
    # Only here, because hashing the shards needs no torch.
    from xy_codec.weights.checkpoint import Checkpoint, read_safetensors

    where = _weight_map(index)
    state: dict[str, Any] = {}
    files = shard_files(index)
    for file in files:
        wanted = [key for key, name in where.items() if name == file.name]
        tensors, _ = read_safetensors(file)
        missing = [key for key in wanted if key not in tensors]
        if missing:
            raise CheckpointError(
                f"Checkpoint `{file}` lacks {len(missing)} tensors that `{index.name}` places in "
                f"it, the first `{missing[0]}`. Expected the files of one release; download them "
                "again."
            )
        state.update({key: tensors[key] for key in wanted})
    return Checkpoint(index, state, {}, files_sha256(files))


def _weight_map(index: Path) -> Mapping[str, str]:
    """Names of tensors to names of files."""
    try:
        where = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        is_good = all(Path(name).name == name != "" for name in where.values())
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"Index `{index}` cannot be read: {type(error).__name__}: {error}. Expected the JSON "
            "with `weight_map` that was published with the shards; download it again."
        ) from error
    if not is_good or not where:
        raise CheckpointError(
            f"Index `{index}` names files outside of its folder, or none; expected shards beside "
            "it. Use the index that was published with them."
        )
    return dict(where)
