"""Lists the shards that inputs name: `@lists`, brace ranges, globs, folders and plain names.

Runs, plans and audits call `list_shards`. What a run may not read or write, because an output's own
files are there, is refused here as well. It reads listings, `@lists` and manifests, never a shard.
Audio files that are not in tars or Parquet become lists (`lists/`).
"""

import json
import logging
import re
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from itertools import takewhile
from pathlib import Path

from fsspec.utils import glob_translate

from pipeline.corpus.lists.audio_folder import METADATA, lists_of_files
from pipeline.corpus.lists.kaldi_folder import KALDI_LIST, lists_of_kaldi
from pipeline.corpus.lists.manifest import MANIFEST_SUFFIXES, lists_of_manifest
from pipeline.corpus.lists.wished_clip import Mirror, is_audio
from pipeline.corpus.metadata import clean_text
from pipeline.corpus.rules import CLIPS_PER_LIST
from pipeline.corpus.shard import (
    PARQUET_SUFFIX,
    SHARD_SUFFIXES,
    TAR_SUFFIXES,
    Shard,
    both_etags,
    cuts_of,
)
from pipeline.errors import InputError, NotFoundError, RefusedError, UsageError, list_lines
from pipeline.plural import plural
from pipeline.storage.client import Storage, StoredFile
from pipeline.storage.location import (
    check_no_secret,
    is_local,
    local_path,
    mirror_path,
    normalise,
    redact,
)

logger = logging.getLogger(__name__)
_MAGIC = re.compile(r"[*?\[]")
_RANGE = re.compile(r"^(-?\d+)\.\.(-?\d+)$")
_MAX_EXPANDED = 10_000_000
# From this many names in one folder on, the folder is listed instead of looking up each name.
_LIST_FROM = 8
_LOOKUP_THREADS = 32
_TELL_SECONDS = 10.0
# What a run writes into its output.
_RUN_RECORD = "run.json"
_OUTPUT = (
    *(_RUN_RECORD, "tokens/", "rejects/", "manifests/", "lists/"),
    *("lease/", "events/", "index/", "audit/", "codec/", "dropped/", "retries/"),
)
_NOTHING = "no tar, no Parquet file, no manifest (lines of JSON, CSV, TSV) and no file of audio"


def list_shards(
    inputs: Sequence[str],
    storage: Storage,
    root: str = "",
    clips_per_list: int = CLIPS_PER_LIST,
) -> list[Shard]:
    """The shards of all inputs, each once, sorted by path; one error names all wrong inputs."""
    found: dict[str, Shard] = {}
    loose: list[tuple[str, list[StoredFile]]] = []
    faults: list[str] = []
    root_path = mirror_path(root) if root else ""
    is_below_root = not root
    patterns = list(expand_inputs(inputs, storage))
    logger.info("Listing %s", plural(len(patterns), "input"))
    for pattern, files in _list_patterns(patterns, storage):
        whole, others = _sorted_out(files, pattern)
        if not whole and not others:
            hint = "; a `[` of a name is written `[[]`" if "[" in pattern else ""
            faults.append(f"`{redact(pattern)}` matches {_NOTHING}{hint}")
        loose += [(pattern, others)] if others else []
        for file in whole:
            shard = _to_shard(file, pattern, root_path)
            is_below_root = is_below_root or shard.path != _to_shard(file, pattern, "").path
            found.setdefault(normalise(file.url), shard)
    if faults:
        raise UsageError(
            f"Some inputs name nothing:\n{list_lines(faults, most=20)}\n"
            "expected existing shards; check the spelling, quote globs, or drop the input"
        )
    _add_cuts(found, storage)
    for source in _sources(loose, storage):
        mirror = partial(_mirrored, pattern=source.pattern, root=root_path)
        for shard in source.lists(storage, mirror, clips_per_list):
            at = _mirrored(shard.url, source.pattern, "")
            is_below_root = is_below_root or shard.path != at
            found.setdefault(shard.url, shard)
    shards = sorted(found.values(), key=lambda shard: shard.path)
    if not is_below_root:
        raise UsageError(
            f"`--root {redact(root)}` is above none of {plural(len(shards), 'shard')}, whose "
            f"paths begin like `{shards[0].path}`; expected a leading path of the inputs, relative "
            "where they are; correct it or leave it out"
        )
    _check_names(shards)
    _check_distinct(shards)
    logger.info("Found %s", plural(len(shards), "shard"))
    return shards


def without_own_files(shards: Sequence[Shard], output: str) -> list[Shard]:
    """The shards but the files of the run in `output`, which a glob may name; says what it drops.

    Shards that lie elsewhere in the output's folder stay.
    """
    own = tuple(f"{output}/{name}" for name in _OUTPUT)
    left_out = [shard for shard in shards if shard.url.startswith(own)]
    if not left_out:
        return list(shards)
    first, more = redact(left_out[0].url), plural(len(left_out) - 1, "more file")
    if len(left_out) == len(shards):
        raise UsageError(
            f"`{first}` and {more} lie where the run in `{redact(output)}` keeps its own files; "
            "expected inputs that are not of this run; name others, or another output"
        )
    logger.warning("`%s` and %s of the output itself are left out of the inputs", first, more)
    return [shard for shard in shards if not shard.url.startswith(own)]


def check_outside_outputs(folder: str, storage: Storage) -> None:
    """Refuse to write where another output keeps its own files: readers would take both for one."""
    parts = folder.split("/")
    # A bucket or host is never one of the names.
    for depth in range(3 if "://" in folder else 0, len(parts)):
        outer = "/".join(parts[:depth])
        if f"{parts[depth]}/" in _OUTPUT and _holds_run(outer, storage):
            raise UsageError(
                f"`{redact(folder)}` lies in `{redact(outer)}/{parts[depth]}/`, where the output "
                f"`{redact(outer)}` keeps its own files; expected a folder that is in no other "
                "output; name another one"
            )


def _holds_run(folder: str, storage: Storage) -> bool:
    """Whether there is a `run.json` of ours, as far as may be read here."""
    try:
        record = json.loads(storage.read_bytes(f"{folder}/{_RUN_RECORD}"))
    except (InputError, RefusedError, ValueError):
        return False
    return isinstance(record, dict) and "identity8" in record


def _add_cuts(found: dict[str, Shard], storage: Storage) -> None:
    """Give tars of lhotse Shar their cuts, where these lie beside them."""
    wanted = {url: cuts for url, shard in found.items() if (cuts := cuts_of(shard.url))}
    there = look_up(list(wanted.values()), storage)
    for url, cuts in wanted.items():
        file = there[cuts]
        if file is not None:
            both = both_etags(found[url].etag, file.etag)
            found[url] = replace(found[url], etag=both, cuts=cuts)


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
        is_padded = any(len(end) > 1 and end[0] == "0" for end in (first, last))
        width = max(len(first), len(last)) if is_padded else 0
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
        raise UsageError(
            f"List `@{path}` is not UTF-8 text (byte {error.start}); expected one input a line; "
            "check that it is the list and not a shard"
        ) from error
    if "\0" in text:
        raise UsageError(
            f"List `@{path}` holds zero bytes; expected one input a line; write the list again"
        )
    lines = [line.strip() for line in text.split("\n")]
    return [line for line in lines if line and not line.startswith("#")]


def _list_patterns(
    patterns: Sequence[str], storage: Storage
) -> Iterator[tuple[str, list[StoredFile]]]:
    names = [p for p in patterns if _is_file_name(p)]
    looked_up = look_up(names, storage)
    for pattern in patterns:
        if pattern in looked_up:
            file = looked_up[pattern]
            yield pattern, [file] if file else []
        elif _MAGIC.search(pattern):
            yield pattern, _glob(pattern, storage)
        else:
            yield pattern, _without_outputs(_files_below(pattern, storage))


def _glob(pattern: str, storage: Storage) -> list[StoredFile]:
    """The files that a pattern means; `**` also stands for folders behind links."""
    if not is_local(pattern) or "**" not in pattern:
        return [file for file in storage.glob_files(pattern) if not file.is_folder]
    above = _MAGIC.split(pattern)[0].rpartition("/")[0]
    there = _files_below(normalise(above or ("/" if pattern[0] == "/" else ".")), storage)
    fits = re.compile(glob_translate(normalise(pattern)))
    return [file for file in there if fits.match(file.url)]


def _files_below(folder: str, storage: Storage) -> list[StoredFile]:
    """Every file below a folder, also behind links to folders elsewhere, each folder once."""
    files, links = _apart(storage.list_files(folder))
    seen = [_real(folder)] if links else []
    skipped: list[str] = []
    while links:
        link = links.pop(0)
        real = _real(link)
        if any(real.is_relative_to(each) or each.is_relative_to(real) for each in seen):
            skipped.append(link)
            continue
        seen.append(real)
        more, further = _apart(storage.list_files(link))
        files += more
        links += further
    if skipped:
        logger.warning(
            "`%s` and %s below `%s` are not followed, because they lead to folders that "
            "are read as well",
            *(skipped[0], plural(len(skipped) - 1, "more link"), folder),
        )
    return sorted(files, key=lambda file: file.url)


def _apart(files: Sequence[StoredFile]) -> tuple[list[StoredFile], list[str]]:
    """Files, and the URLs of links to folders."""
    links = [file.url for file in files if file.is_folder]
    return [file for file in files if not file.is_folder], links


def _real(folder: str) -> Path:
    return Path(local_path(folder)).expanduser().resolve()


def _is_file_name(pattern: str) -> bool:
    if _MAGIC.search(pattern):
        return False
    name = redact(pattern)
    return name.endswith((*SHARD_SUFFIXES, *MANIFEST_SUFFIXES, f"/{KALDI_LIST}")) or is_audio(name)


def _without_outputs(files: Sequence[StoredFile]) -> list[StoredFile]:
    """The files of a folder but those of runs whose output lies in it."""
    urls = [file.url for file in files]
    records = [url.removesuffix(_RUN_RECORD) for url in urls if url.endswith(f"/{_RUN_RECORD}")]
    # Other programs name files so, too; a run of ours has written one of these as well.
    marks = tuple(f"{folder}{name}" for folder in records for name in ("lease/", "manifests/"))
    runs = [
        folder
        for folder in records
        if any(url.startswith(folder) for url in urls if url.startswith(marks))
    ]
    ours = tuple(f"{folder}{name}" for folder in runs for name in _OUTPUT)
    return [file for file in files if not ours or not file.url.startswith(ours)]


def _sorted_out(
    files: Sequence[StoredFile], pattern: str
) -> tuple[list[StoredFile], list[StoredFile]]:
    """The shards behind a pattern, or else what lists are to be made of.

    Tars come before Parquet, and both before single files: a folder of tars may have notes and
    tables beside them.
    """
    for suffixes in (TAR_SUFFIXES, (PARQUET_SUFFIX,)):
        shards = [file for file in files if redact(file.url).endswith(suffixes)]
        if shards:
            rest = [redact(each.url) for each in files if not redact(each.url).endswith(suffixes)]
            left_out = [name for name in rest if is_audio(name) or name.endswith(SHARD_SUFFIXES)]
            if left_out:
                logger.warning(
                    "`%s` and %s behind `%s` are left out, because there are `%s` files "
                    "as well; name them by a pattern of their own",
                    left_out[0],
                    plural(len(left_out) - 1, "more file"),
                    redact(pattern),
                    suffixes[0],
                )
            return shards, []
    names = {redact(file.url).rpartition("/")[2] for file in files}
    if redact(pattern).endswith(MANIFEST_SUFFIXES) or KALDI_LIST in names:
        return [], list(files)
    return [], list(files) if any(is_audio(redact(file.url)) for file in files) else []


@dataclass(frozen=True, slots=True)
class _Source:
    """What becomes lists: a manifest, a Kaldi folder, or files below a folder, all or some."""

    pattern: str
    url: str
    files: Sequence[StoredFile] = ()
    are_all: bool = False

    def lists(self, storage: Storage, mirror: Mirror, clips_per_list: int) -> list[Shard]:
        """The lists of the clips; raises a UsageError for a manifest that cannot be read."""
        try:
            return self._lists(storage, mirror, clips_per_list)
        except NotFoundError:
            raise
        except InputError as error:
            raise UsageError(str(error)) from error

    def _lists(self, storage: Storage, mirror: Mirror, clips_per_list: int) -> list[Shard]:
        find = partial(look_up, storage=storage)
        if self.files:
            return lists_of_files(
                *(self.files, self.url, storage, mirror, clips_per_list), are_all=self.are_all
            )
        if self.url.endswith(MANIFEST_SUFFIXES):
            return lists_of_manifest(self.url, storage, find, mirror, clips_per_list)
        return lists_of_kaldi(self.url, storage, find, mirror, clips_per_list)


def _sources(loose: Sequence[tuple[str, list[StoredFile]]], storage: Storage) -> Iterator[_Source]:
    single: list[tuple[str, StoredFile]] = []
    for pattern, files in loose:
        urls = [normalise(file.url) for file in files]
        kaldi = [url for url in urls if url.rpartition("/")[2] == KALDI_LIST]
        if redact(pattern).endswith(MANIFEST_SUFFIXES):
            yield from (_Source(pattern, url) for url in urls)
        elif kaldi:
            yield from (_Source(pattern, url.rpartition("/")[0]) for url in kaldi)
        elif _MAGIC.search(pattern):
            parts = pattern.split("/")
            first = next(n for n, part in enumerate(parts) if _MAGIC.search(part))
            folder = normalise("/".join(parts[:first]) or ("/" if pattern[0] == "/" else "."))
            yield _Source(pattern, folder, [*files, *_texts_beside(files, storage, folder)])
        elif _is_file_name(pattern):
            # What was asked for by its name has the name as it was typed.
            single += [(pattern, replace(file, url=normalise(file.url))) for file in files]
        else:
            yield _Source(pattern, normalise(pattern), files, are_all=True)
    by_bucket: dict[str, list[tuple[str, StoredFile]]] = {}
    for pattern, file in single:
        bucket = "/".join(file.url.split("/")[:3]) if "://" in file.url else ""
        by_bucket.setdefault(bucket, []).append((pattern, file))
    for found in by_bucket.values():
        files = [file for _, file in found]
        folders = [normalise(file.url).split("/")[:-1] for file in files]
        shared = takewhile(lambda part: len(set(part)) == 1, zip(*folders, strict=False))
        folder = "/".join(part[0] for part in shared)
        yield _Source(found[0][0], folder, [*files, *_texts_beside(files, storage, folder)])


def _texts_beside(files: Sequence[StoredFile], storage: Storage, above: str) -> list[StoredFile]:
    """JSON and text of the same names as audio files that were named by a pattern or one by one.

    With them comes what describes the files of their folders, or of that above all.
    """
    stems = {file.url.rpartition(".")[0] for file in files if is_audio(file.url)}
    known = {file.url for file in files}
    folders = sorted({above, *(file.url.rpartition("/")[0] for file in files)})
    return [
        file
        for folder in folders
        for file in storage.glob_files(f"{_escaped(folder)}/*")
        if file.url not in known
        and (
            file.url.rpartition("/")[2] in METADATA
            or (file.url.endswith((".json", ".txt")) and file.url.rpartition(".")[0] in stems)
        )
    ]


def _escaped(folder: str) -> str:
    return re.sub(r"([*?\[])", r"[\1]", folder)


def look_up(urls: Sequence[str], storage: Storage) -> dict[str, StoredFile | None]:
    """The files with these URLs, None where there is no file; folders of many are listed."""
    by_folder: dict[str, list[str]] = {}
    for url in dict.fromkeys(urls):
        by_folder.setdefault(url.rpartition("/")[0], []).append(url)
    found: dict[str, StoredFile | None] = {}
    single: list[str] = []
    for folder, members in by_folder.items():
        if len(members) < _LIST_FROM or folder.startswith(("http:", "https:")) or not folder:
            single += members
            continue
        there = storage.glob_files(f"{_escaped(folder)}/*")
        listed = {normalise(f.url): f for f in there if not f.is_broken_link and not f.is_folder}
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
        found = storage.file_info(url)
        return None if found.is_folder else found
    except InputError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            return None
        raise


def _to_shard(file: StoredFile, pattern: str, root: str) -> Shard:
    url = normalise(file.url)
    return Shard(url, _mirrored(url, pattern, root), file.size_bytes, file.etag)


def _mirrored(url: str, pattern: str, root: str) -> str:
    # Listings give absolute local paths, but a relative input keeps its relative path below the
    # output.
    typed, here = url, Path.cwd()
    is_relative = is_local(pattern) and not Path(pattern).expanduser().is_absolute()
    if is_relative and Path(url).is_relative_to(here):
        typed = str(Path(url).relative_to(here))
    return mirror_path(typed, root)


def _check_names(shards: Sequence[Shard]) -> None:
    """Refuse names on a local disk that Parquet and JSON cannot hold."""
    bad = [f"`{shown}`" for shard in shards if (shown := clean_text(shard.url)) != shard.url]
    if bad:
        raise UsageError(
            f"{plural(len(bad), 'shard has a name that is', 'shards have names that are')} no "
            f"UTF-8:\n{list_lines(bad)}\nexpected UTF-8, because parts name their shards; rename "
            "these files or folders, or name other inputs"
        )


def _check_distinct(shards: Sequence[Shard]) -> None:
    owners: dict[str, Shard] = {}
    for shard in shards:
        other = owners.setdefault(shard.stem, shard)
        if other is not shard:
            raise UsageError(
                f"Shards `{redact(other.url)}` and `{redact(shard.url)}` would both become "
                f"`{shard.part_path}`; expected one output per shard; give them separate outputs"
            )
