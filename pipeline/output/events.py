"""The event log of a run, `events/*.jsonl`: times, hosts, workers, rates.

Everything that differs between two equal runs is here, so that parts and manifests stay equal byte
for byte. `fleet/run.py` writes it; `xytok status` reads it.
"""

import io
import json
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipeline.storage.client import Storage
from pipeline.storage.location import is_local, join, local_path

EVENTS = "events"
_UPLOAD_SECONDS = 30.0


def read_events(storage: Storage, output: str) -> Iterator[dict[str, Any]]:
    """Every event of every driver, drivers in the order of their start."""
    logs = [f.url for f in storage.list_files(join(output, EVENTS)) if f.url.endswith(".jsonl")]
    for url in sorted(logs):
        # Line by line: the log of 250,000 shards has a hundred megabytes.
        for line in io.BytesIO(storage.read_bytes(url)):
            try:
                yield dict(json.loads(line))
            except ValueError:
                continue  # a killed driver may leave half a line


class EventLog:
    """The events of one driver, in a file of its own.

    A local file is appended to. Object stores cannot append, so there the whole file is uploaded
    again every 30 seconds.
    """

    def __init__(self, storage: Storage, output: str) -> None:
        self._storage = storage
        started = time.strftime("%Y%m%dT%H%M%S", time.gmtime())
        name = f"{started}-{socket.gethostname()}-{os.getpid()}.jsonl"
        self.url = join(output, EVENTS, name)
        self._lines: list[str] = []
        self._uploaded = time.monotonic()

    def write(self, kind: str, **fields: Any) -> None:
        """Record one event with the current time."""
        event = {"time": round(time.time(), 3), "event": kind} | fields
        line = json.dumps(event, default=str) + "\n"
        if is_local(self.url):
            path = Path(local_path(self.url))
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("a") as file:
                file.write(line)
            return
        self._lines.append(line)
        if time.monotonic() - self._uploaded > _UPLOAD_SECONDS:
            self._upload()

    def close(self) -> None:
        """Upload what was not uploaded yet."""
        if self._lines:
            self._upload()

    def _upload(self) -> None:
        self._storage.write_finished(self.url, "".join(self._lines).encode())
        self._uploaded = time.monotonic()
