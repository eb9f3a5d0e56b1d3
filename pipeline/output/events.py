"""`events/*.jsonl`: times, hosts, workers and rates, everything that differs between equal runs."""

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
_PUT_SECONDS = 30.0


def read_events(storage: Storage, output: str) -> Iterator[dict[str, Any]]:
    """Every event of every driver, drivers in the order of their start."""
    logs = [f.url for f in storage.list_files(join(output, EVENTS)) if f.url.endswith(".jsonl")]
    for url in sorted(logs):
        for line in storage.read_bytes(url).decode("utf-8", "replace").splitlines():
            try:
                yield dict(json.loads(line))
            except ValueError:
                continue  # a driver that was killed leaves half a line


class EventLog:
    """One file of events per driver; object stores cannot append and get it whole now and then."""

    def __init__(self, storage: Storage, output: str) -> None:
        self._storage = storage
        started = time.strftime("%Y%m%dT%H%M%S", time.gmtime())
        name = f"{started}-{socket.gethostname()}-{os.getpid()}.jsonl"
        self.url = join(output, EVENTS, name)
        self._lines: list[str] = []
        self._put_at = time.monotonic()

    def write(self, kind: str, **fields: Any) -> None:
        """Record one event."""
        event = {"time": round(time.time(), 3), "event": kind} | fields
        line = json.dumps(event, default=str) + "\n"
        if is_local(self.url):
            self._append(line)
            return
        self._lines.append(line)
        if time.monotonic() - self._put_at > _PUT_SECONDS:
            self._put()

    def close(self) -> None:
        """Make sure that every event is in the output."""
        if self._lines:
            self._put()

    def _append(self, line: str) -> None:
        path = Path(local_path(self.url))
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a") as file:
            file.write(line)

    def _put(self) -> None:
        self._storage.write_finished(self.url, "".join(self._lines).encode())
        self._put_at = time.monotonic()
