"""Lists the shards that inputs name: `@lists`, brace ranges, globs, folders and plain names.

Runs, plans and audits call `list_shards`. It reads listings and `@lists`, never a shard.
"""

import logging
import re
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pipeline.corpus.shard import TAR_SUFFIXES, Shard
from pipeline.errors import InputError, UsageError, list_lines
from pipeline.storage.client import Storage, StoredFile
from pipeline.storage.location import check_no_secret, is_local, mirror_path, normalise, redact

logger = logging.getLogger(__name__)
_MAGIC = re.compile(r"[*?\[]")
_RANGE = re.compile(r"^(-?\d+)\.\.(-?\d+)$")
_MAX_EXPANDED = 10_000_000
# From this many names in one folder on, the folder is listed instead of looking up each name.
_LIST_FROM = 8
_LOOKUP_THREADS = 32
_TELL_SECONDS = 10.0


def list_shards(inputs: Sequence[str], storage: Storage, root: str = "") -> list[Shard]:
    """The shards of all inputs, each once, sorted by path; one error names all wrong inputs."""
    found: dict[str, Shard] = {}
    faults: list[str] = []
    root_path = mirror_path(root) if root else ""
    is_below_root = not root
    patterns = list(expand_inputs(inputs, storage))
    logger.info("Listing %d inputs", len(patterns))
    for pattern, files in _list_patterns(patterns, storage):
        if not files:
            hint = "; a `[` of a name is written `[[]`" if "[" in pattern else ""
            faults.append(f"`{redact(pattern)}` matches no `.tar`, `.tar.gz` or `.tgz` file{hint}")
        for file in files:
            shard = _to_shard(file, pattern, root_path)
            is_below_root = is_below_root or shard.path != _to_shard(file, pattern, "").path
            found.setdefault(normalise(file.url), shard)
    if faults:
        raise UsageError(
            f"Some inputs name nothing:\n{list_lines(faults, most=20)}\n"
            "expected existing shards; check the spelling, quote globs, or drop the input"
        )
    shards = sorted(found.values(), key=lambda shard: shard.path)
    if not is_below_root:
        raise UsageError(
            f"`--root {redact(root)}` is above none of the {len(shards)} shards, whose paths begin "
            f"like `{shards[0].path}`; expected a leading path of the inputs, relative where they "
            "are; correct it or leave it out"
        )
    _check_distinct(shards)
    logger.info("Found %d shards", len(shards))
    return shards


def expand_inputs(inputs: Iterable[str], storage: Storage) -> Iterator[str]:
    """Replace every `@list` by its lines and every brace by its alternatives."""
    for text in inputs:
        if text.startswith("@"):
            yield from expand_inputs(_read_list(text[1:], storage), storage)
        else:
            check_no_secret(text)
            yield from expand_braces(text)


def expand_braces(text: str) -> Iterator[str]:
    """Expand `{000..012}`, which keeps its zeros, and `{a,b}`; braces may be nested."""
    opening = text.find("{")
    closing = _matching_brace(text, opening)
    if closing < 0:
        yield text
        return
    before, inner, after = text[:opening], text[opening + 1 : closing], text[closing + 1 :]
    choices = _brace_choices(inner)
    if choices is None:
        for rest in expand_braces(after):
            yield f"{before}{{{inner}}}{rest}"
        return
    for choice in choices:
        for middle in expand_braces(choice):
            for rest in expand_braces(after):
                yield before + middle + rest


def _matching_brace(text: str, opening: int) -> int:
    depth = 0
    for position in range(max(opening, 0), len(text) if opening >= 0 else 0):
        depth += (text[position] == "{") - (text[position] == "}")
        if depth == 0:
            return position
    return -1


def _brace_choices(inner: str) -> list[str] | None:
    match = _RANGE.match(inner)
    if match:
        first, last = match.groups()
        width = max(len(first), len(last)) if "0" in (first[:1], last[:1]) else 0
        step = 1 if int(last) >= int(first) else -1
        if abs(int(last) - int(first)) > _MAX_EXPANDED:
            raise UsageError(
                f"Brace range `{{{inner}}}` names more than {_MAX_EXPANDED:,} shards; expected "
                "fewer; check its ends"
            )
        return [str(n).zfill(width) for n in range(int(first), int(last) + step, step)]
    choices, depth, start = [], 0, 0
    for position, letter in enumerate(inner):
        depth += (letter == "{") - (letter == "}")
        if letter == "," and depth == 0:
            choices.append(inner[start:position])
            start = position + 1
    return [*choices, inner[start:]] if choices else None


def _read_list(path: str, storage: Storage) -> list[str]:
    content = storage.read_bytes(path if "://" in path else str(Path(path).expanduser()))
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(
            f"List `@{path}` is not UTF-8 text (byte {error.start}); expected one input a line; "
            "check that it is the list and not a shard"
        ) from error
    if "\0" in text:
        raise InputError(
            f"List `@{path}` holds zero bytes; expected one input a line; write the list again"
        )
    lines = [line.strip() for line in text.splitlines()]
    return [line for line in lines if line and not line.startswith("#")]


def _list_patterns(
    patterns: Sequence[str], storage: Storage
) -> Iterator[tuple[str, list[StoredFile]]]:
    names = [p for p in patterns if not _MAGIC.search(p) and p.endswith(TAR_SUFFIXES)]
    looked_up = _look_up(names, storage)
    for pattern in patterns:
        if pattern in looked_up:
            file = looked_up[pattern]
            yield pattern, [file] if file else []
        elif _MAGIC.search(pattern):
            yield pattern, _only_tars(storage.glob_files(pattern))
        else:
            yield pattern, _only_tars(storage.list_files(pattern))


def _look_up(urls: Sequence[str], storage: Storage) -> dict[str, StoredFile | None]:
    by_folder: dict[str, list[str]] = {}
    for url in dict.fromkeys(urls):
        by_folder.setdefault(url.rpartition("/")[0], []).append(url)
    found: dict[str, StoredFile | None] = {}
    single: list[str] = []
    for folder, members in by_folder.items():
        if len(members) < _LIST_FROM or folder.startswith(("http:", "https:")) or not folder:
            single += members
            continue
        listed = {normalise(f.url): f for f in storage.glob_files(f"{folder}/*")}
        found |= {url: listed.get(normalise(url)) for url in members}
    told = time.monotonic()
    with ThreadPoolExecutor(_LOOKUP_THREADS) as pool:
        infos = pool.map(lambda url: _info_or_none(url, storage), single)
        for done, (url, info) in enumerate(zip(single, infos, strict=True)):
            found[url] = info
            if time.monotonic() - told > _TELL_SECONDS:
                told = time.monotonic()
                logger.info("Looked up %d of %d inputs that no listing has", done, len(single))
    return found


def _info_or_none(url: str, storage: Storage) -> StoredFile | None:
    try:
        return storage.file_info(url)
    except InputError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            return None
        raise


def _only_tars(files: Iterable[StoredFile]) -> list[StoredFile]:
    return [file for file in files if redact(file.url).endswith(TAR_SUFFIXES)]


def _to_shard(file: StoredFile, pattern: str, root: str) -> Shard:
    # Listings give absolute local paths, but a relative input keeps its relative path below the
    # output.
    url = normalise(file.url)
    typed, here = url, Path.cwd()
    is_relative = is_local(pattern) and not Path(pattern).expanduser().is_absolute()
    if is_relative and Path(url).is_relative_to(here):
        typed = str(Path(url).relative_to(here))
    return Shard(url, mirror_path(typed, root), file.size_bytes, file.etag)


def _check_distinct(shards: Sequence[Shard]) -> None:
    owners: dict[str, Shard] = {}
    for shard in shards:
        other = owners.setdefault(shard.stem, shard)
        if other is not shard:
            raise UsageError(
                f"Shards `{redact(other.url)}` and `{redact(shard.url)}` would both become "
                f"`{shard.part_path}`; expected one output per shard; give them separate outputs"
            )
