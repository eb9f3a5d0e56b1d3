"""`Storage`: reads, lists, writes and deletes on local disks and every fsspec URL, with retries.

A file appears under its final name whole or not at all. fsspec commits a half-written file when
`with fs.open(path, "wb")` is left by an exception, so nothing here writes through an open file.
What is retried is in `retries.py`, the writing of local files in `local_write.py`.
"""

import errno
import logging
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from stat import S_ISDIR
from typing import Any, TypeVar

import fsspec
from fsspec.registry import known_implementations

from pipeline.errors import InputError, RefusedError, UsageError
from pipeline.storage import s3_client
from pipeline.storage.local_write import write_local
from pipeline.storage.location import is_local, local_path, protocol_of, redact
from pipeline.storage.retries import RetryPolicy, call_within, with_retries
from pipeline.storage.web_server import RestartingReader, gives_ranges

logger = logging.getLogger(__name__)
T = TypeVar("T")
_S3_CONNECT_SECONDS = 10
_S3 = ("s3", "s3a")
_WEB = ("http", "https")
# Listings and uploads may be many requests, each with the client's own time limit.
_LONG_CALL = 10
_LISTING_TRIES = 3
# Clients that try this often by themselves, and have no switch for it.
_TRIES_INSIDE = {"gs": 6, "gcs": 6, "hf": 6}
_MAGIC = re.compile(r"[*?\[]")
_NOTHING_BEHIND = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)
_EXTRAS = {"gcsfs": "'xytok[gs]'"}


@dataclass(frozen=True, slots=True)
class StoredFile:
    """One file of a listing; of a local link, the size and etag are those of the file behind it.

    Links to folders are in listings as well, and are folders.
    """

    url: str
    size_bytes: int
    etag: str
    is_broken_link: bool = False
    is_folder: bool = False


@dataclass(frozen=True, slots=True)
class Storage:
    """Access to local paths and every fsspec URL; `options` may hold secrets and is never shown."""

    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, repr=False)
    policy: RetryPolicy = field(default_factory=RetryPolicy)
    timeout_seconds: float = 60.0

    def filesystem(self, url: str, tries_per_request: int = 1) -> tuple[Any, str]:
        """The fsspec file system of a URL and the path in it."""
        if is_local(url):
            return fsspec.filesystem("file"), local_path(url)
        try:
            fs, path = fsspec.core.url_to_fs(url, **self._options_for(url, tries_per_request))
        except ImportError as error:
            raise _missing_package(url, error) from error
        except ValueError as error:
            if protocol_of(url) in known_implementations:
                raise
            raise UsageError(
                f"`{redact(url)}` has the protocol `{protocol_of(url)}`, which nobody here knows; "
                "expected a path, or a URL such as `s3://`, `gs://`, `https://` or `hf://`; "
                "correct it"
            ) from error
        if protocol_of(url) in _S3:
            s3_client.set_up(fs)
        return fs, str(path)

    def after_first_contact(self) -> "Storage":
        """The same for workers: their driver reached the servers, so any fault is an outage."""
        policy = replace(self.policy, first_contact_seconds=self.policy.budget_seconds)
        return replace(self, policy=policy)

    def server_of(self, url: str) -> str | None:
        """Whom requests for a URL go to; None for local files."""
        if is_local(url):
            return None
        protocol, given = protocol_of(url), self._options_for(url, 1)
        if protocol in _WEB:
            return "/".join(url.split("/")[:3])
        return f"{protocol}://{given.get('endpoint_url') or given.get('client_kwargs')}"

    def policy_for(self, url: str) -> RetryPolicy:
        """The budget for a URL: where the client tries again by itself, fewer tries around it."""
        inside = _TRIES_INSIDE.get(protocol_of(url), 1)
        return replace(self.policy, attempts=-(-self.policy.attempts // inside))

    def read_bytes(self, url: str) -> bytes:
        """The whole content of a small file."""
        return self.read_range(url, None, None)

    def read_range(
        self, url: str, start: int | None, end: int | None, *, may_end: bool = False
    ) -> bytes:
        """The bytes `[start, end)` of a file, without reading the rest.

        All of them, unless the file `may_end` before.
        """

        def read(fs: Any, path: str) -> bytes:
            kind: Any = type(fs)
            options = s3_client.whole_read(kind) if start is None and end is None else {}
            content = bytes(fs.cat_file(path, start=start, end=end, **options))
            if end is not None:
                _check_length(url, len(content), end - (start or 0), may_end=may_end)
            return content

        # Not fresh: the client for Hugging Face would look up the repository for every range.
        return self._attempt("reading", url, read, fresh=False)

    def gives_ranges(self, url: str) -> bool:
        """Whether parts of a file can be read; some web servers only give whole files."""
        if protocol_of(url) not in _WEB:
            return True
        return self._attempt("reading", url, gives_ranges, fresh=False)

    def read_from_start(self, url: str, size_bytes: int, block_bytes: int) -> Iterator[bytes]:
        """The blocks of a file of a server that gives no ranges, up to its size."""
        attempts = self.policy_for(url).attempts
        reader = RestartingReader(f"reading `{redact(url)}`", attempts)
        left = size_bytes
        try:
            while left:
                wanted = min(block_bytes, left)
                block = self._attempt("reading", url, partial(reader.read, wanted), fresh=False)
                left -= len(block)
                if block:
                    yield block
        finally:
            reader.close()

    def file_info(self, url: str) -> StoredFile:
        """Size and etag of one file."""
        return self._attempt("reading", url, lambda fs, path: _stored_file(url, fs.info(path)))

    def list_files(self, folder: str) -> list[StoredFile]:
        """Every file below a folder, fresh, sorted by URL; empty when the folder does not exist.

        A folder in it that may not be read is left out, and named in the log.
        """

        def find(fs: Any, path: str) -> list[StoredFile]:
            # The walk of fsspec, as for local disks, takes a folder whose listing fails for empty.
            walks = type(fs).find is fsspec.AbstractFileSystem.find
            try:
                found = dict(_below(fs, path)) if walks else fs.find(path, detail=True)
            except FileNotFoundError:
                return []
            # Some object stores keep an emptied folder as an object of its own name.
            return _listed(
                folder, {n: i for n, i in found.items() if n.strip("/") != path.strip("/")}
            )

        return self._attempt("listing", folder, find)

    def glob_files(self, pattern: str) -> list[StoredFile]:
        """The files that match a glob pattern, fresh, sorted by URL."""

        def glob(fs: Any, path: str) -> list[StoredFile]:
            if "**" in path or protocol_of(pattern) in _WEB:
                found = fs.glob(path, detail=True)
            else:
                parts = str(fs._strip_protocol(path)).split("/")
                first = next((n for n, part in enumerate(parts) if _MAGIC.search(part)), -1)
                found = dict(_matches(fs, "/".join(parts[:first]), parts[first:]))
            return _listed(
                pattern, {n: i for n, i in found.items() if i.get("type") != "directory"}
            )

        return self._attempt("listing", pattern, glob)

    def exists(self, url: str) -> bool:
        """Whether a file or folder is there now."""
        return self._attempt("reading", url, _is_there)

    def write_finished(self, url: str, content: bytes | Path) -> None:
        """Put finished bytes, or a finished local file, under a final name in one step."""

        def write(fs: Any, path: str) -> None:
            if is_local(url):
                write_local(Path(path), content)
            elif isinstance(content, Path):
                fs.put_file(str(content), path)
            else:
                fs.pipe_file(path, content)

        self._attempt("writing", url, write)

    def create_exclusive(self, url: str, content: bytes) -> bool:
        """Write a file only if there is none; False when another file was there first.

        A file with the very same bytes counts as ours: the answer to an earlier try may have been
        lost. Whoever must be the only creator puts something of their own into `content`.
        """

        def create(fs: Any, path: str) -> bool:
            if is_local(url):
                created = write_local(Path(path), content, exclusive=True)
            else:
                created = not _is_there(fs, path) and _put_if_absent(fs, path, content)
            return created or bytes(fs.cat_file(path)) == content

        return self._attempt("creating", url, create)

    def delete(self, url: str) -> None:
        """Remove a file; one that is gone already is fine."""

        def remove(fs: Any, path: str) -> None:
            try:
                fs.rm_file(path)
            except FileNotFoundError:
                return

        self._attempt("deleting", url, remove)

    def _options_for(self, url: str, tries_per_request: int) -> dict[str, Any]:
        protocol = protocol_of(url)
        given = dict(self.options.get(protocol, self.options.get("", {})))
        # s3fs and friends cache listings for ever; a run beside another must see what is there.
        options: dict[str, Any] = {"use_listings_cache": False}
        if protocol in _S3:
            config = {
                "read_timeout": self.timeout_seconds,
                "connect_timeout": _S3_CONNECT_SECONDS,
                "retries": {"mode": "standard", "total_max_attempts": tries_per_request},
            }
            given["config_kwargs"] = config | given.get("config_kwargs", {})
        return options | given

    def _attempt(
        self, doing: str, url: str, action: Callable[[Any, str], T], *, fresh: bool = True
    ) -> T:
        policy, tries_per_request = self.policy_for(url), 1
        if doing == "listing" and protocol_of(url) in _S3:
            # A listing is up to thousands of requests, so botocore tries each of them again, and we
            # the whole a few times: as many tries of a request that always fails as elsewhere.
            tries_per_request = -(-policy.attempts // _LISTING_TRIES)
            pause = policy.longest_pause_seconds
            policy = replace(policy, attempts=_LISTING_TRIES, first_pause_seconds=pause)
        seconds = self.timeout_seconds * (_LONG_CALL if doing in ("listing", "writing") else 1)

        def act() -> T:
            fs, path = self.filesystem(url, tries_per_request)
            if fresh:
                fs.invalidate_cache()
            return action(fs, path)

        def act_in_time() -> T:
            return act() if is_local(url) else call_within(act, seconds)

        try:
            return with_retries(
                act_in_time, f"{doing} `{redact(url)}`", policy, self.server_of(url)
            )
        except RefusedError:
            # A client keeps the credentials that it began with; the next one reads them again.
            type(self.filesystem(url, tries_per_request)[0]).clear_instance_cache()
            raise


def _check_length(url: str, given: int, wanted: int, *, may_end: bool) -> None:
    if given > wanted:
        raise InputError(
            f"`{redact(url)}` gave {given} bytes where {wanted} were asked for; expected a server "
            "that gives ranges of a file; copy the file to other storage"
        )
    if given < wanted and not may_end:
        raise ConnectionError(f"{given} bytes came where {wanted} were asked for")


def _missing_package(url: str, error: ImportError) -> UsageError:
    protocol = protocol_of(url)
    module = str(known_implementations.get(protocol, {}).get("class", "")).partition(".")[0]
    # What fsspec reads by itself needs a package that only its message names.
    remedy = f"`pip install {_EXTRAS.get(module, module)}`" if module != "fsspec" else "install it"
    return UsageError(
        f"`{redact(url)}` needs a package for `{protocol}://` that is not installed ({error}); "
        f"expected it here and on every worker; {remedy}"
    )


def _is_there(fs: Any, path: str) -> bool:
    # Not `fs.exists`, which takes an outage for "no".
    try:
        fs.info(path)
    except FileNotFoundError:
        return False
    return True


def _below(fs: Any, folder: str, *, is_top: bool = True) -> Iterator[tuple[str, Any]]:
    try:
        found = fs.ls(folder, detail=True)
    except FileNotFoundError:  # gone since its name was listed
        return
    except PermissionError as error:
        if is_top:
            raise
        logger.warning("`%s` is left out, because it may not be read (%s)", folder, error)
        return
    for info in found:
        if info["type"] != "directory":
            yield info["name"], info
        elif info["name"].rstrip("/") != folder.rstrip("/"):
            yield from _below(fs, info["name"], is_top=False)


def _matches(fs: Any, folder: str, parts: Sequence[str]) -> Iterator[tuple[str, Any]]:
    # Not `fs.glob`, which takes a folder whose listing fails for an empty one.
    try:
        found = fs.ls(folder or "/", detail=True)
    except (FileNotFoundError, NotADirectoryError):
        return
    for info in found:
        name = str(info["name"]).rstrip("/")
        if name == folder or not fnmatchcase(name.rpartition("/")[2], parts[0]):
            continue
        if len(parts) == 1:
            yield name, info
        elif info["type"] == "directory" or (info.get("islink") and Path(name).is_dir()):
            yield from _matches(fs, name, parts[1:])


def _listed(near: str, found: Mapping[str, Mapping[str, Any]]) -> list[StoredFile]:
    files = [_stored_file(_url_in(near, name), info) for name, info in found.items()]
    return sorted(files, key=lambda file: file.url)


def _url_in(near: str, name: str) -> str:
    if is_local(near) or "://" in name:
        return name
    return f"{protocol_of(near)}://{name.lstrip('/')}"


def _stored_file(url: str, info: Mapping[str, Any]) -> StoredFile:
    is_broken, is_folder = False, info.get("type") == "directory"
    if is_local(url) and info.get("islink"):
        # Listings have the times of the link itself.
        try:
            behind = Path(info["name"]).stat()
            info, is_folder = {**info, "mtime": behind.st_mtime}, S_ISDIR(behind.st_mode)
        except OSError as error:
            if error.errno not in _NOTHING_BEHIND:
                raise
            is_broken = True
    size = info.get("size")
    tags = (info.get(k) for k in ("ETag", "etag", "md5Hash", "blob_id", "checksum", "LastModified"))
    tag = next((t for t in tags if t), info.get("mtime", info.get("created", "")))
    return StoredFile(
        url, -1 if size is None else int(size), str(tag).strip('"'), is_broken, is_folder
    )


def _put_if_absent(fs: Any, path: str, content: bytes) -> bool:
    try:
        fs.pipe_file(path, content, mode="create")
    except FileExistsError:
        return False
    except OSError as error:
        # Object stores answer a lost race with 412; s3fs passes that on as a plain OSError.
        if "PreconditionFailed" in str(error) or "pre-conditions" in str(error).lower():
            return False
        raise
    return True
