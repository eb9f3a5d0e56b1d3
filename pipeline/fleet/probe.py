"""Asks storage from the driver for the file that a worker did not get, and for another one.

`breaker.py` decides with the answer. A probe tries once and gives up after some seconds, in a
thread of its own, so that the driver goes on meanwhile.
"""

import os
import socket
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace

from pipeline.errors import PipelineError
from pipeline.fleet.breaker import Probe
from pipeline.storage.client import Storage
from pipeline.storage.location import join
from pipeline.storage.retries import RetryPolicy, call_within
from pipeline.worker.fault import Fault

_PROBE_SECONDS = 20.0


class StorageProber:
    """Probes the inputs and the output of a run; `references` are other shards than a URL's."""

    def __init__(
        self, storage: Storage, output: str, references: Callable[[str], list[str]]
    ) -> None:
        self._storage = replace(
            storage, policy=RetryPolicy(attempts=1), timeout_seconds=_PROBE_SECONDS
        )
        self._output = output
        self._references = references

    def __call__(self, fault: Fault) -> "Future[Probe]":
        """Begin the probe for a fault of storage."""
        asked: Future[Probe] = Future()

        def ask() -> None:
            try:
                asked.set_result(call_within(lambda: self._ask(fault), 3 * _PROBE_SECONDS))
            except TimeoutError:
                asked.set_result(Probe.OUTAGE)
            except BaseException as error:
                asked.set_exception(error)

        # A daemon, so that a run that ends does not wait for storage that is silent.
        threading.Thread(target=ask, daemon=True, name="xytok-probe").start()
        return asked

    def _ask(self, fault: Fault) -> Probe:
        if fault.url == self._output:
            return Probe.ANSWERS if self._can_write() else Probe.OUTAGE
        if self._can_read(fault.url):
            return Probe.ANSWERS
        others = self._references(fault.url)
        # A single input that is gone or refused is told from an outage by the output.
        if not others and fault.is_answer:
            return Probe.ONLY_OTHERS if self._can_write() else Probe.OUTAGE
        return Probe.ONLY_OTHERS if any(map(self._can_read, others)) else Probe.OUTAGE

    def _can_read(self, url: str) -> bool:
        try:
            self._storage.read_range(url, 0, 1, may_end=True)
        except PipelineError:
            return False
        return True

    def _can_write(self) -> bool:
        name = f".probe-{socket.gethostname()}-{os.getpid()}"
        url = join(self._output, "events", name)
        try:
            self._storage.write_finished(url, b"probe")
            self._storage.delete(url)
        except PipelineError:
            return False
        return True
