"""The event log of a run, `events/*.jsonl`: times, hosts, workers, rates.

Everything that differs between two equal runs is here, so that parts and manifests stay equal byte
for byte. `fleet/run.py` writes it; `xytok status` reads it. Where it cannot be written, the run
logs that and goes on. What only the latest event needs is in a file that each event replaces.
"""

import io
import json
import logging
import os
import socket
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from pipeline.errors import NotFoundError, what_happened
from pipeline.storage.client import Storage
from pipeline.storage.location import join, redact
from pipeline.storage.retries import call_within

logger = logging.getLogger(__name__)
EVENTS = "events"
_WRITE_SECONDS = 30.0
_LATEST = "latest.json"
# Where storage is out for so long that more come together, the oldest are dropped: about 10 MB.
_MOST_WAITING = 30_000
# How long the end of a run waits for storage that does not answer.
_CLOSE_SECONDS = 10.0
_READERS = 16


def read_events(storage: Storage, output: str) -> Iterator[dict[str, Any]]:
    """Every event of every driver, drivers in the order of their start."""
    logs = [f.url for f in storage.list_files(join(output, EVENTS)) if f.url.endswith(".jsonl")]
    with ThreadPoolExecutor(_READERS) as pool:
        for content in pool.map(storage.read_bytes, sorted(logs)):
            for line in io.BytesIO(content):
                try:
                    yield dict(json.loads(line))
                except ValueError:
                    continue  # a killed driver of version 0.1 may have left half a line


def read_latest(storage: Storage, output: str) -> dict[str, Any]:
    """The event that replaced the others of its kind; empty where there is none."""
    try:
        return dict(json.loads(storage.read_bytes(join(output, EVENTS, _LATEST))))
    except (NotFoundError, ValueError):
        return {}


class EventLog:
    """The events of one driver, in numbered files that are written once each.

    A thread writes those of the last 30 seconds, or earlier when asked, `close` the rest. Where a
    file could not be written, its events go into the next try, under the same name: it may be there
    after all.
    """

    def __init__(
        self, storage: Storage, output: str, write_seconds: float = _WRITE_SECONDS
    ) -> None:
        self._storage = storage
        self._latest_url = join(output, EVENTS, _LATEST)
        self._latest = ""
        self._write_seconds = write_seconds
        now = time.time()
        started = time.strftime("%Y%m%dT%H%M%S", time.gmtime(now)) + f"{now % 1:.3f}"[2:]
        self._driver = join(output, EVENTS, f"{started}-{socket.gethostname()}-{os.getpid()}")
        self._number = 1
        self._waiting: deque[str] = deque()
        self._num_dropped = 0
        self._lock = threading.Lock()
        self._is_closed = False
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._keep_writing, daemon=True, name="xytok-events")
        self._thread.start()

    def write(self, kind: str, **fields: Any) -> None:
        """Record one event with the current time; it is written later."""
        try:
            line = _line(kind, **fields)
        except (TypeError, ValueError) as error:
            logger.warning("The run goes on without an event `%s`: %s", kind, error)
            return
        with self._lock:
            self._waiting.append(line)
            self._drop_oldest()

    def write_latest(self, kind: str, more: Mapping[str, Any], **fields: Any) -> None:
        """Record an event; with `more` it is also the latest one, in the file of its own."""
        self.write(kind, **fields)
        with self._lock:
            self._latest = _line(kind, **fields, **more)

    def flush(self) -> None:
        """Write soon, because somebody may be watching."""
        self._wake.set()

    def close(self) -> None:
        """Write what was not written yet, if storage answers."""
        self._is_closed = True
        self._wake.set()
        try:
            call_within(self._thread.join, _CLOSE_SECONDS)
        except TimeoutError:
            logger.warning("The last events were not written: `%s` is silent", redact(self._driver))

    def _keep_writing(self) -> None:
        is_last = False
        while not is_last:
            self._wake.wait(self._write_seconds)
            self._wake.clear()
            is_last = self._is_closed
            lines, num_dropped, latest = self._take()
            try:
                if latest:
                    self._storage.write_finished(self._latest_url, latest.encode())
                self._write_lines(lines, num_dropped)
            except Exception as error:
                logger.warning(
                    "The run goes on; its events wait for the next try: %s", what_happened(error)
                )
                self._put_back(lines, num_dropped)

    def _write_lines(self, lines: deque[str], num_dropped: int) -> None:
        if not lines:
            return
        head = _line("events_dropped", count=num_dropped) if num_dropped else ""
        url = f"{self._driver}-{self._number:06d}.jsonl"
        self._storage.write_finished(url, (head + "".join(lines)).encode())
        self._number += 1

    def _take(self) -> tuple[deque[str], int, str]:
        with self._lock:
            taken = self._waiting, self._num_dropped, self._latest
            self._waiting, self._num_dropped, self._latest = deque(), 0, ""
        return taken

    def _put_back(self, lines: deque[str], num_dropped: int) -> None:
        with self._lock:
            self._waiting.extendleft(reversed(lines))
            self._num_dropped += num_dropped
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        while len(self._waiting) > _MOST_WAITING:
            self._waiting.popleft()
            self._num_dropped += 1


def _line(kind: str, **fields: Any) -> str:
    event = {"time": round(time.time(), 3), "event": kind} | fields
    return json.dumps(event, default=str) + "\n"
