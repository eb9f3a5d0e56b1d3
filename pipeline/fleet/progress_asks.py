"""When each busy worker is asked how far it is: often while there are few, seldom when many.

Pure logic, called by `driver.py`. The answers feed the progress of the run and `hang_watch.py`.
"""

import time
from collections.abc import Callable, Collection

_LOOK_SECONDS = 0.25
# All workers together are asked so often, about: a thousand of them every 15 seconds.
_ASKS_PER_SECOND = 50.0
_LONGEST_PAUSE_SECONDS = 15.0
# With thousands of workers the pause grows again, because the driver answers for all of them.
_MOST_ASKS_PER_SECOND = 100.0


class ProgressAsks:
    """Spreads the asks evenly; nobody is asked again before the answer to the last ask came."""

    def __init__(self, pause_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._shortest = pause_seconds
        self._clock = clock
        self._looked = clock() - _LOOK_SECONDS
        self._asked: dict[str, float] = {}
        self._open: set[str] = set()

    @property
    def is_due(self) -> bool:
        """Whether it is time to call `take` again."""
        return self._clock() - self._looked >= min(_LOOK_SECONDS, self._shortest)

    def take(self, busy: Collection[str]) -> list[str]:
        """The workers to ask now, those that wait longest first."""
        now = self._clock()
        most = max(1, int(_MOST_ASKS_PER_SECOND * min(1.0, now - self._looked)))
        self._looked = now
        self._asked = {worker: self._asked.get(worker, float("-inf")) for worker in busy}
        self._open.intersection_update(busy)
        pause = self.pause_seconds(len(busy))
        ready = [
            worker
            for worker, asked in self._asked.items()
            if now - asked >= pause and worker not in self._open
        ]
        chosen = sorted(ready, key=self._asked.__getitem__)[:most]
        self._asked |= dict.fromkeys(chosen, now)
        self._open.update(chosen)
        return chosen

    def pause_seconds(self, num_workers: int) -> float:
        """How long a worker is left alone between two asks."""
        longest = max(_LONGEST_PAUSE_SECONDS, num_workers / _MOST_ASKS_PER_SECOND)
        return max(self._shortest, min(num_workers / _ASKS_PER_SECOND, longest))

    def note_answer(self, worker: str) -> None:
        """A worker answered, so that it may be asked again."""
        self._open.discard(worker)
