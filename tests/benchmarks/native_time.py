"""Processor time inside calls that let the GIL go, measured while the host path runs."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pyarrow.parquet as pq
import soundfile
import torch


@dataclass
class NativeTime:
    """Processor seconds inside calls that do not hold the GIL, by name."""

    seconds: dict[str, float] = field(default_factory=dict)
    calls: int = 0

    def wrap(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*args: Any, **kwargs: Any) -> Any:
            began = time.thread_time()
            try:
                return function(*args, **kwargs)
            finally:
                spent = time.thread_time() - began
                self.seconds[name] = self.seconds.get(name, 0.0) + spent
                self.calls += 1

        return timed


def timing_seconds(calls: int) -> float:
    """What timing so many calls has cost by itself, to be taken off again."""
    probe = NativeTime()
    timed = probe.wrap("nothing", int)
    began = time.thread_time()
    for _ in range(2000):
        timed()
    spent = time.thread_time() - began - probe.seconds["nothing"]
    return spent / 2000 * calls


class TimedLibrary:
    """libsndfile's functions, timed: cffi lets the GIL go around each of them."""

    def __init__(self, library: Any, native: NativeTime) -> None:
        self._library, self._native = library, native

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._library, name)
        return self._native.wrap("libsndfile", value) if callable(value) else value


@contextmanager
def timed_native_calls(native: NativeTime) -> Iterator[None]:
    """Time what is known to let the GIL go; everything else counts as holding it."""
    spots: list[tuple[Any, str, str]] = [
        (torch.nn.functional, "conv1d", "resample"),  # torch's operators, like cffi's functions
        (pq.ParquetWriter, "write_table", "parquet"),
        (os, "write", "memfd"),
    ]
    saved = [(owner, name, getattr(owner, name)) for owner, name, _ in spots]
    library = soundfile._snd
    try:
        for owner, name, label in spots:
            setattr(owner, name, native.wrap(label, getattr(owner, name)))
        soundfile._snd = TimedLibrary(library, native)
        yield
    finally:
        soundfile._snd = library
        for owner, name, function in saved:
            setattr(owner, name, function)
