"""How long each stage of a worker was busy, and how long it waited for its neighbours."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class StageTime:
    """Seconds of one stage, over all its threads."""

    name: str
    threads: int
    busy_seconds: float
    cpu_seconds: float

    @property
    def seconds_per_thread(self) -> float:
        """What decides which stage is the slowest."""
        return self.busy_seconds / self.threads

    def plus(self, other: "StageTime") -> "StageTime":
        """The same stage over the threads of two workers."""
        return StageTime(
            self.name,
            self.threads + other.threads,
            self.busy_seconds + other.busy_seconds,
            self.cpu_seconds + other.cpu_seconds,
        )


@dataclass(slots=True)
class StageClock:
    """Adds up busy wall time and processor time of one stage."""

    name: str
    threads: int = 1
    # Grows with every piece of work; a sum that stands still tells a worker that hangs.
    steps: int = 0
    _busy: float = 0.0
    _cpu: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def running(self) -> Iterator["ThreadClock"]:
        """Measure a thread from here to the end of the block, less its pauses."""
        clock = ThreadClock(self)
        try:
            yield clock
        finally:
            clock.pause()

    def add(self, busy: float, cpu: float) -> None:
        """Add what one thread did."""
        with self._lock:
            self._busy += busy
            self._cpu += cpu
            self.steps += 1

    def time(self) -> StageTime:
        """The sums so far."""
        with self._lock:
            return StageTime(self.name, self.threads, self._busy, self._cpu)


class ThreadClock:
    """The clock of one thread; `pause` and `resume` around every wait."""

    __slots__ = ("_cpu_start", "_since", "_stage")

    def __init__(self, stage: StageClock) -> None:
        self._stage = stage
        self._since: float | None = None
        self._cpu_start = 0.0
        self.resume()

    def pause(self) -> None:
        """The thread begins to wait, or ends; what it did until now counts at once."""
        if self._since is not None:
            self._stage.add(time.perf_counter() - self._since, time.thread_time() - self._cpu_start)
            self._since = None

    def step(self) -> None:
        """The thread got on without a wait."""
        self._stage.add(0.0, 0.0)

    def resume(self) -> None:
        """The thread has something to do."""
        self._since, self._cpu_start = time.perf_counter(), time.thread_time()
