"""Where files are: splitting, joining and redacting paths and URLs, without touching them."""

import os
import posixpath
import re
from pathlib import Path
from urllib.parse import urlsplit

from pipeline.errors import UsageError

# How many leading components name the bucket or host, not the file.
_BUCKET_PARTS = {"s3": 1, "s3a": 1, "gs": 1, "gcs": 1, "az": 1, "abfs": 1, "http": 1, "https": 1}
_HF_REPO_PARTS = 3  # datasets/<owner>/<name>
_SECRET_QUERY = re.compile(r"\?(?=[^/]*(?:sig|token|secret|password|credential|key)[\w.-]*=)", re.I)


def protocol_of(url: str) -> str:
    """The protocol of a URL; `file` for a plain path."""
    return url.split("://", 1)[0].split("::", 1)[0] if "://" in url else "file"


def is_local(url: str) -> bool:
    """Whether the URL is a path on this machine."""
    return protocol_of(url) in ("file", "local")


def local_path(url: str) -> str:
    """The path behind a local URL."""
    return url.split("://", 1)[1] if "://" in url else url


def check_means_the_same_elsewhere(url: str) -> None:
    """Refuse a path that another machine would look for in a folder of its own."""
    if is_local(url) and not local_path(url).startswith("/"):
        raise UsageError(
            f"`{url}` is a relative path, which the job would look for in a folder of its own on "
            "the cluster; expected the URL of a bucket, or an absolute path on a disk that all "
            "nodes have"
        )


def normalise(url: str) -> str:
    """One spelling for a place: absolute local paths without `file://`, no trailing slash."""
    if is_local(url):
        return _absolute(local_path(url))
    return url.rstrip("/")


def join(folder: str, *names: str) -> str:
    """A file below a folder, for local and remote folders alike."""
    return "/".join([folder.rstrip("/"), *names])


def check_no_secret(url: str) -> None:
    """Refuse credentials inside a URL: they would end in logs, records and process lists."""
    if "://" in url and not is_local(url) and "@" in urlsplit(url).netloc:
        raise UsageError(
            f"`{redact(url)}` carries credentials in the URL, which shows in process lists and "
            "logs; expected a URL without them; put them into the environment, a profile or "
            "`--storage-options @FILE`"
        )


def redact(url: str) -> str:
    """The URL without user, password and query, fit for logs and records.

    In a bucket, `?` is a letter of a name, unless what follows looks like a secret.
    """
    if is_local(url):
        return url
    query = r"\?" if protocol_of(url) in ("http", "https") else _SECRET_QUERY
    url = re.split(query, url, maxsplit=1)[0]
    return re.sub(r"://[^/@]*@", "://", url)


def mirror_path(url: str, root: str = "") -> str:
    """The path below the output that mirrors a shard's own path: what follows the bucket or host.

    Local paths mirror as typed when relative, and without the first slash when absolute. No name
    in a bucket, such as `a/../../b.tar`, leads out of the output. `root` is a leading path to cut
    off.
    """
    if is_local(url):
        path = os.path.normpath(Path(local_path(url)).expanduser())
        path = _absolute(path) if path.startswith("..") else path
    else:
        path = posixpath.normpath(f"/{_below_bucket(redact(url))}")
    relative = path.lstrip("/")
    prefix = root.strip("/")
    if prefix and relative.startswith(prefix + "/"):
        relative = relative[len(prefix) + 1 :]
    return relative


def _absolute(path: str) -> str:
    # Not `Path.resolve`: a symlinked data folder keeps the name the user gave it.
    return os.path.normpath(Path(path).expanduser().absolute())


def _below_bucket(url: str) -> str:
    protocol, rest = url.split("://", 1)
    parts = rest.split("/")
    skipped = _BUCKET_PARTS.get(protocol, 0)
    if protocol == "hf" and parts[0] in ("datasets", "spaces"):
        skipped = _HF_REPO_PARTS
    return "/".join(parts[skipped:])
