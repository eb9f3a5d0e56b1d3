"""Files on any file system: read, list, and write finished bytes; retried, timed, without secrets.

A file appears under its final name whole or not at all. fsspec commits a half-written file when
`with fs.open(path, "wb")` is left by an exception, so nothing here writes through an open file.
"""

import itertools
import os
import re
import threading
import uuid
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import fsspec

from pipeline.storage.location import is_local, local_path, protocol_of, redact
from pipeline.storage.retries import RetryPolicy, with_retries

T = TypeVar("T")
_S3_CONNECT_SECONDS = 10
# What `_write_local` names a file before it has its final name.
_TEMPORARY = re.compile(r"\..+\.[0-9a-f]{8}\.tmp")


@dataclass(frozen=True, slots=True)
class StoredFile:
    """One file of a listing."""

    url: str
    size_bytes: int
    etag: str


@dataclass(frozen=True, slots=True)
class Storage:
    """Access to local paths and every fsspec URL; `options` may hold secrets and is never shown."""

    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, repr=False)
    policy: RetryPolicy = field(default_factory=RetryPolicy)
    timeout_seconds: float = 60.0

    def filesystem(self, url: str) -> tuple[Any, str]:
        """The fsspec file system of a URL and the path in it."""
        if is_local(url):
            return fsspec.filesystem("file"), local_path(url)
        fs, path = fsspec.core.url_to_fs(url, **self._options_for(url))
        return fs, str(path)

    def read_bytes(self, url: str) -> bytes:
        """The whole content of a small file."""
        return self.read_range(url, None, None)

    def read_range(self, url: str, start: int | None, end: int | None) -> bytes:
        """The bytes `[start, end)` of a file, without reading the rest."""

        def read() -> bytes:
            fs, path = self.filesystem(url)
            return bytes(fs.cat_file(path, start=start, end=end))

        return self._attempt(read, f"reading `{redact(url)}`", is_local(url))

    def file_info(self, url: str) -> StoredFile:
        """Size and etag of one file."""

        def ask() -> StoredFile:
            fs, path = self.filesystem(url)
            fs.invalidate_cache()
            return _stored_file(url, fs.info(path))

        return self._attempt(ask, f"reading `{redact(url)}`", is_local(url))

    def list_files(self, folder: str) -> list[StoredFile]:
        """Every file below a folder, fresh, sorted by URL; empty when the folder does not exist."""

        def find() -> list[StoredFile]:
            fs, path = self.filesystem(folder)
            fs.invalidate_cache()
            try:
                found = fs.find(path, detail=True)
            except FileNotFoundError:
                return []
            # Some object stores keep an emptied folder as an object of its own name.
            files = {n: i for n, i in found.items() if n.strip("/") != path.strip("/")}
            return [_stored_file(_url_in(folder, name), info) for name, info in files.items()]

        files = self._attempt(
            find, f"listing `{redact(folder)}`", is_local(folder), stall_factor=10
        )
        return sorted(files, key=lambda file: file.url)

    def glob_files(self, pattern: str) -> list[StoredFile]:
        """The files that match a glob pattern, fresh, sorted by URL."""

        def glob() -> list[StoredFile]:
            fs, path = self.filesystem(pattern)
            fs.invalidate_cache()
            found = fs.glob(path, detail=True)
            files = {n: i for n, i in found.items() if i.get("type") != "directory"}
            return [_stored_file(_url_in(pattern, name), info) for name, info in files.items()]

        files = self._attempt(
            glob, f"listing `{redact(pattern)}`", is_local(pattern), stall_factor=10
        )
        return sorted(files, key=lambda file: file.url)

    def exists(self, url: str) -> bool:
        """Whether a file or folder is there now."""

        def ask() -> bool:
            fs, path = self.filesystem(url)
            fs.invalidate_cache()
            return bool(fs.exists(path))

        return self._attempt(ask, f"reading `{redact(url)}`", is_local(url))

    def write_finished(self, url: str, content: bytes | Path) -> None:
        """Put finished bytes, or a finished local file, under a final name in one step."""

        def write() -> None:
            if is_local(url):
                _write_local(Path(local_path(url)), content, _replace)
                return
            fs, path = self.filesystem(url)
            if isinstance(content, Path):
                fs.put_file(str(content), path)
            else:
                fs.pipe_file(path, content)

        self._attempt(write, f"writing `{redact(url)}`", is_local(url), stall_factor=10)

    def create_exclusive(self, url: str, content: bytes) -> bool:
        """Write a file only if there is none; False when another was there first."""

        def create() -> bool:
            if is_local(url):
                return _write_local(Path(local_path(url)), content, _link)
            fs, path = self.filesystem(url)
            fs.invalidate_cache()
            if fs.exists(path):
                return False
            return _put_if_absent(fs, path, content)

        return self._attempt(create, f"creating `{redact(url)}`", is_local(url))

    def delete(self, url: str) -> None:
        """Remove a file; one that is gone already is fine."""

        def remove() -> None:
            fs, path = self.filesystem(url)
            try:
                fs.rm_file(path)
            except FileNotFoundError:
                return

        self._attempt(remove, f"deleting `{redact(url)}`", is_local(url))

    def _options_for(self, url: str) -> dict[str, Any]:
        protocol = protocol_of(url)
        # s3fs and friends cache listings for ever; a run beside another must see what is there.
        options: dict[str, Any] = {"use_listings_cache": False}
        if protocol in ("s3", "s3a"):
            config = {"read_timeout": self.timeout_seconds, "connect_timeout": _S3_CONNECT_SECONDS}
            options["config_kwargs"] = config
        return options | dict(self.options.get(protocol, self.options.get("", {})))

    def _attempt(
        self, action: Callable[[], T], what: str, local: bool, stall_factor: float = 1.0
    ) -> T:
        if local:
            return with_retries(action, what, self.policy)
        timeout = self.timeout_seconds * stall_factor
        return with_retries(lambda: call_within(action, timeout), what, self.policy)


def call_within(action: Callable[[], T], seconds: float) -> T:
    """Return `action()`, or raise `TimeoutError` when it takes longer; a stalled call is left."""
    outcome: Future[T] = Future()

    def call() -> None:
        try:
            outcome.set_result(action())
        except BaseException as error:
            outcome.set_exception(error)

    # A daemon, so that a call that never returns cannot hold up the end of the process.
    threading.Thread(target=call, daemon=True, name="xytok-storage").start()
    try:
        return outcome.result(timeout=seconds)
    except FutureTimeoutError as error:
        if outcome.done():
            raise
        raise TimeoutError(f"no answer for {seconds:g} s") from error


def is_temporary(path: str) -> bool:
    """Whether a file is one that a killed writer here left behind; others' `.tmp` are not."""
    return _TEMPORARY.fullmatch(path.rpartition("/")[2]) is not None


def _url_in(near: str, name: str) -> str:
    if is_local(near):
        return str(name)
    if "://" in name:
        return str(name)
    return f"{protocol_of(near)}://{name.lstrip('/')}"


def _stored_file(url: str, info: Mapping[str, Any]) -> StoredFile:
    size = info.get("size")
    tags = (info.get(k) for k in ("ETag", "etag", "md5Hash", "blob_id", "checksum", "LastModified"))
    tag = next((t for t in tags if t), info.get("mtime", info.get("created", "")))
    return StoredFile(url, -1 if size is None else int(size), str(tag).strip('"'))


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


def _write_local(final: Path, content: bytes | Path, publish: Callable[[Path, Path], bool]) -> bool:
    final.parent.mkdir(parents=True, exist_ok=True)
    temporary = final.parent / f".{final.name[:100]}.{uuid.uuid4().hex[:8]}.tmp"
    try:
        with temporary.open("wb") as file:
            for block in _blocks(content):
                file.write(block)
            file.flush()
            os.fsync(file.fileno())
        published = publish(temporary, final)
    finally:
        temporary.unlink(missing_ok=True)
    _sync_folder(final.parent)
    return published


def _blocks(content: bytes | Path) -> itertools.chain[bytes]:
    if isinstance(content, bytes):
        return itertools.chain([content])

    def read() -> Any:
        with content.open("rb") as file:
            while block := file.read(1 << 20):
                yield block

    return itertools.chain(read())


def _replace(temporary: Path, final: Path) -> bool:
    temporary.replace(final)
    return True


def _link(temporary: Path, final: Path) -> bool:
    try:
        os.link(temporary, final)
    except FileExistsError:
        return False
    return True


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
