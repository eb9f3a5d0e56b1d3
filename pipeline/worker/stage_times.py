"""How long each stage of a worker (read, decode, encode, write) was busy, without its waits.

Every thread of a worker keeps a `ThreadClock`. The times go to the summary of a run and to
`xytok bench`; the counts of steps show whether a worker hangs.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class StageTime:
    """Busy seconds of one stage, added up over its threads."""

    name: str
    threads: int
    busy_seconds: float
    cpu_seconds: float

    @property
    def seconds_per_thread(self) -> float:
        """Busy seconds of an average thread; the stage with the most is the slowest."""
        return self.busy_seconds / self.threads

    def plus(self, other: "StageTime") -> "StageTime":
        """The sum with the same stage of another worker."""
        return StageTime(
            self.name,
            self.threads + other.threads,
            self.busy_seconds + other.busy_seconds,
            self.cpu_seconds + other.cpu_seconds,
        )


@dataclass(slots=True)
class StageClock:
    """Adds up busy wall time and processor time of the threads of one stage."""

    name: str
    threads: int = 1
    # Grows with every piece of work; a worker hangs when the sum over its stages stands still.
    steps: int = 0
    # When the last step was, by `time.perf_counter`.
    stepped: float = 0.0
    _busy: float = 0.0
    _cpu: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def running(self) -> Iterator["ThreadClock"]:
        """Measure the calling thread until the block ends, without its waits."""
        clock = ThreadClock(self)
        try:
            yield clock
        finally:
            clock.stop()

    def add(self, busy: float, cpu: float, now: float) -> None:
        """Add busy seconds and processor seconds of one thread, as a step made now."""
        with self._lock:
            self._busy += busy
            self._cpu += cpu
            self.steps += 1
            self.stepped = now

    def time(self) -> StageTime:
        """The sums up to now."""
        with self._lock:
            return StageTime(self.name, self.threads, self._busy, self._cpu)


class ThreadClock:
    """The clock of one thread, which wraps every wait in `with clock.waiting:`."""

    __slots__ = ("_cpu_start", "_stage", "_started")

    def __init__(self, stage: StageClock) -> None:
        self._stage = stage
        self._start()

    @property
    def waiting(self) -> "ThreadClock":
        """Leaves a `with` block out of the busy time; the work before it counts at once."""
        return self

    # Not a generator with `contextmanager`: every clip waits several times, and that costs twice.
    def __enter__(self) -> None:
        self.stop()

    def __exit__(self, *_: object) -> None:
        self._start()

    def step(self) -> None:
        """Count a step of a thread that does not wait."""
        self._stage.add(0.0, 0.0, time.perf_counter())

    def stop(self) -> None:
        """Add the time since the last wait."""
        now = time.perf_counter()
        self._stage.add(now - self._started, time.thread_time() - self._cpu_start, now)

    def _start(self) -> None:
        self._started, self._cpu_start = time.perf_counter(), time.thread_time()
