"""Where a codec comes from: a name, a path, a URL or a Hugging Face repository, as local files.

Which of the files a codec needs, its own folder says (`catalogue.py`).
"""

import fcntl
import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urlsplit

from xy_codec.errors import CheckpointError, CodecNotFoundError, ConfigError
from xy_codec.nearest_name import nearest

BUNDLED = Path(__file__).parents[1] / "checkpoints"
_WEIGHTS = (".safetensors", ".ckpt", ".pt", ".pth", ".bin")
_CONFIGS = (".yaml", ".yml", ".json")
_REPO_ID = re.compile(r"^[\w.-]+/[\w.-]+$")


@dataclass(frozen=True, slots=True)
class CodecPlace:
    """A codec on this machine: a checkpoint, or a folder as its release lays it out.

    `source` is what the user wrote, without secrets; `config` is set where the user named a
    configuration that does not lie beside the checkpoint.
    """

    source: str
    path: Path
    config: Path | None = None

    def json(self, name: str) -> dict[str, Any]:
        """The content of one of the folder's JSON files; empty where it is not there."""
        file = self.path / name
        if not file.is_file():
            return {}
        try:
            values = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"`{file}` cannot be read: {error}. Expected the JSON that was published with the "
                "checkpoint; download it again."
            ) from error
        return values if isinstance(values, dict) else {}


@dataclass(frozen=True, slots=True)
class CodecFiles:
    """One checkpoint and its configuration; `config` is None where only weights were given."""

    weights: Path
    config: Path | None


def bundled_names() -> list[str]:
    """Names of the checkpoints shipped in the package."""
    return sorted(path.parent.name for path in BUNDLED.glob("*/config.yaml"))


def fetch_codec(source: str, config: str | None = None, files_at: Path | None = None) -> CodecPlace:
    """Bring the files behind `source` to this machine; `files_at` has them already."""
    place = files_at or _locate(source)
    local = None if config is None else _fetch(config) if "://" in config else Path(config)
    return CodecPlace(_without_secrets(source, source), place, local)


def is_repository(source: str) -> bool:
    """Whether `source` names a repository of Hugging Face: nothing here has that name."""
    is_here = source in bundled_names() or Path(source).exists()
    return not is_here and not source.startswith(".") and bool(_REPO_ID.match(source))


def check_protocol(url: str) -> None:
    """Refuse a URL of a protocol that nothing here speaks."""
    from fsspec.registry import available_protocols

    protocol = url.partition("://")[0]
    known = available_protocols()
    # Protocols may be chained, as in `simplecache::s3`.
    unknown = [each for each in protocol.split("::") if each not in known]
    if unknown:
        raise CodecNotFoundError(
            f"Codec `{_without_secrets(url, url)}` is at a URL of the protocol `{unknown[0]}`; "
            f"expected {nearest(unknown[0], known)}. Correct it."
        )


def find_files(place: CodecPlace) -> CodecFiles:
    """The one checkpoint of a place, and the YAML or JSON beside it."""
    if place.path.is_dir():
        files = _in_folder(place.path, place.source)
    else:
        files = CodecFiles(place.path, _config_in(place.path.parent))
    return files if place.config is None else CodecFiles(files.weights, place.config)


def file_sha256(path: Path) -> str:
    """The hash of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def files_sha256(paths: Sequence[Path]) -> str:
    """The hash of a checkpoint: of its file, or of the hashes of its files, one after the other."""
    return hashes_sha256([file_sha256(path) for path in paths])


def hashes_sha256(hashes: Sequence[str]) -> str:
    """The hash of a checkpoint whose files have these hashes."""
    return hashes[0] if len(hashes) == 1 else _text_sha256("".join(hashes))


def settings_sha256(settings: Mapping[str, Any]) -> str:
    """The hash of a configuration: of its values, not of how a file spells them."""
    return _text_sha256(json.dumps(settings, sort_keys=True))


def _text_sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def read_config(path: Path) -> dict[str, Any]:
    """Parse a YAML or JSON configuration; a JSON of transformers has keys beside ours."""
    import yaml

    try:
        loaded = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(
            f"Configuration `{path}` cannot be read: {error}. Expected a YAML mapping with "
            "`generator_params`; check the path."
        ) from error
    if not isinstance(loaded, dict):
        raise ConfigError(
            f"Configuration `{path}` holds a {type(loaded).__name__}; expected a YAML mapping "
            "with `generator_params`. Use the file published with the checkpoint."
        )
    if "generator_params" in loaded or path.suffix != ".json":
        return loaded
    return {key: value for key, value in loaded.items() if key.endswith(("_kwargs", "_rate"))}


def _locate(source: str) -> Path:
    if source in bundled_names():
        return BUNDLED / source
    if "://" in source:
        return _fetch(source)
    if is_repository(source):
        return fetch_repository(source)
    if Path(source).exists():
        return Path(source)
    raise CodecNotFoundError(
        f"Codec `{source}` was not found; expected a file or folder that is there. Check the path."
    )


def _in_folder(folder: Path, source: str) -> CodecFiles:
    names = sorted(path for path in folder.iterdir() if path.is_file())
    for suffix in _WEIGHTS:
        weights = [path for path in names if path.suffix == suffix]
        if len(weights) > 1:
            found = ", ".join(path.name for path in weights)
            raise CheckpointError(
                f"`{source}` holds {len(weights)} checkpoints ({found}); expected one. "
                "Pass the file itself."
            )
        if weights:
            return CodecFiles(weights[0], _config_in(folder))
    # One published checkpoint has no suffix at all.
    bare = [path for path in names if not path.suffix and path.stat().st_size > 2**20]
    if len(bare) == 1:
        return CodecFiles(bare[0], _config_in(folder))
    raise CheckpointError(
        f"`{source}` holds no checkpoint; expected a file ending in {', '.join(_WEIGHTS)}. "
        "Pass the file itself, or put the checkpoint beside its YAML."
    )


def _config_in(folder: Path) -> Path | None:
    for suffix in _CONFIGS:
        found = sorted(path for path in folder.glob(f"*{suffix}") if _holds_a_codec(path))
        if len(found) > 1:
            raise ConfigError(
                f"`{folder}` holds {len(found)} configurations "
                f"({', '.join(path.name for path in found)}); expected one. Pass `config`."
            )
        if found:
            return found[0]
    return None


def _holds_a_codec(path: Path) -> bool:
    return b"quantizer_kwargs" in path.read_bytes()[: 2**20]


def fetch_repository(repo_id: str) -> Path:
    """The folder with a repository's newest weights and configurations, fetched where needed."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    patterns = [f"*{suffix}" for suffix in (*_WEIGHTS, *_CONFIGS)] + ["MOSS_TTSD_tokenizer"]
    try:
        return Path(snapshot_download(repo_id, allow_patterns=patterns))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise CheckpointError(
            f"Codec `{repo_id}` is no local path, and could not be fetched from Hugging Face: "
            f"{str(error).splitlines()[0]}. Check the name, the network and `HF_TOKEN`, or pass a "
            f"local path or one of the bundled names {bundled_names()}."
        ) from error


def _fetch(url: str) -> Path:
    """Copy a URL (a file, or a folder's codec files) into the cache; unchanged ones stay there."""
    import fsspec

    try:
        fs, path = fsspec.core.url_to_fs(url)
        is_folder = fs.isdir(path)
        wanted = list(fs.ls(path, detail=False)) if is_folder else [path]
        folder = _cache_folder(url, [fs.info(file) for file in wanted])
        for file in wanted:
            name = file.rstrip("/").rsplit("/", 1)[-1]
            if not is_folder or name.endswith((*_WEIGHTS, *_CONFIGS)):
                fetch_once(folder / name, partial(_copy, fs, file))
    except Exception as error:  # every file system has errors of its own
        raise CheckpointError(
            f"Codec `{_without_secrets(url, url)}` could not be fetched: {type(error).__name__}: "
            f"{_without_secrets(str(error), url)}. Expected a "
            "readable file or folder; check the URL and your credentials."
        ) from error
    return folder if is_folder else folder / path.rstrip("/").rsplit("/", 1)[-1]


def _without_secrets(text: str, url: str) -> str:
    """A text about a URL, without the URL's credentials and signature."""
    parts = urlsplit(url)
    for secret in (f"?{parts.query}", f"{parts.netloc.rpartition('@')[0]}@"):
        if len(secret) > 1:
            text = text.replace(secret, "")
    return text


def _cache_folder(url: str, infos: list[dict[str, Any]]) -> Path:
    stamp = "|".join(
        f"{info.get('name')}:{info.get('size')}:{info.get('ETag') or info.get('mtime')}"
        for info in infos
    )
    return cache_folder(f"{url}|{stamp}")


def cache_folder(content: str) -> Path:
    """The folder on this machine for files that are named by `content` without doubt."""
    root = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "xytok"
    folder = root / _text_sha256(content)[:16]
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def fetch_once(local: Path, write: Callable[[BinaryIO], None]) -> None:
    """Write a file unless it is there; of the workers of a node one writes, the others wait."""
    with local.with_name(f"{local.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if local.exists():
            return
        part = local.with_name(f"{local.name}.part")
        with part.open("wb") as target:
            write(target)
        part.replace(local)


def _copy(fs: Any, remote: str, target: BinaryIO) -> None:
    with fs.open(remote, "rb") as source:
        shutil.copyfileobj(source, target, 2**22)
