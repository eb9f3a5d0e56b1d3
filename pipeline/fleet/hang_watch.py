"""Finds workers that hang: they hold shards, but their count of steps stands still.

Pure logic, called by `driver.py`, which asks the workers for their counts (`progress_asks.py`) and
replaces the ones that hang. The limit is `--hang-minutes`.
"""

import time
from collections.abc import Callable, Iterable

# Time is added up at least this often.
_LONGEST_PAUSE_SECONDS = 15.0


class HangWatch:
    """Adds up how long each busy worker made no step.

    A worker that does not answer made no step either. Only time in which this process was running
    counts: a driver that was suspended for an hour does not report every worker as hung.
    """

    def __init__(self, limit_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit = limit_seconds
        self._pause = min(_LONGEST_PAUSE_SECONDS, limit_seconds / 10)
        self._clock = clock
        self._looked = clock()
        self._silent: dict[str, float] = {}
        self._steps: dict[str, int] = {}

    @property
    def is_due(self) -> bool:
        """Whether it is time to call `look` again."""
        return self._clock() - self._looked >= self._pause

    def look(self, busy: Iterable[str]) -> list[str]:
        """The workers that hang."""
        now = self._clock()
        elapsed, self._looked = min(now - self._looked, 2 * self._pause), now
        self._silent = {worker: self._silent.get(worker, -elapsed) + elapsed for worker in busy}
        self._steps = {w: steps for w, steps in self._steps.items() if w in self._silent}
        return [worker for worker, seconds in self._silent.items() if seconds >= self._limit]

    def note(self, worker: str, steps: int) -> None:
        """Record how many steps a worker has made."""
        if steps != self._steps.get(worker) and worker in self._silent:
            self._steps[worker], self._silent[worker] = steps, 0.0
