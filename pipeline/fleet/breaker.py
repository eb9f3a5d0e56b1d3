"""The breaker: pauses the run while storage does not answer, and tells whose fault it was.

Pure logic, called by `driver.py`; `probe.py` asks the storage. Every shard that storage did not
give or take is held here until a probe from the driver has told one of three things: storage
answers, so that the shard is tried again; it answers for other files only; or nothing answers, and
the run pauses.
"""

import logging
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from enum import Enum
from typing import Generic, TypeVar

from pipeline.errors import StorageError
from pipeline.worker.fault import Fault

logger = logging.getLogger(__name__)
Item = TypeVar("Item")
_FIRST_PAUSE_SECONDS = 5.0
_LONGEST_PAUSE_SECONDS = 60.0
_CHECK = "check the endpoint, the network and the credentials"


class Probe(Enum):
    """What the driver saw when it asked for the same file as a worker."""

    ANSWERS = "answers"
    ONLY_OTHERS = "only_others"  # another file of the inputs is given, this one is not
    OUTAGE = "outage"


@dataclass(frozen=True, slots=True)
class Held(Generic[Item]):
    """A shard that storage did not give or take, and the worker that had it."""

    worker: str
    node: str
    shard: Item
    fault: Fault


class StorageBreaker(Generic[Item]):
    """Holds shards until a probe tells whose fault it was; open while nothing answers."""

    def __init__(
        self,
        probe: Callable[[Fault], "Future[Probe]"],
        limit_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._probe = probe
        self._limit = limit_seconds
        self._clock = clock
        self._held: deque[Held[Item]] = deque()
        self._asked: Future[Probe] | None = None
        self._since: float | None = None
        self._pause = _FIRST_PAUSE_SECONDS
        self._next_at = 0.0

    @property
    def is_open(self) -> bool:
        """Whether no shard is to be handed out: storage does not answer, or it is not known."""
        return bool(self._held)

    @property
    def outage_seconds(self) -> float:
        """How long storage has not answered; 0 when it does."""
        return 0.0 if self._since is None else self._clock() - self._since

    def hold(self, held: Held[Item]) -> None:
        """Keep a shard until it is known whose fault it was."""
        self._held.append(held)

    def resolve(self) -> list[tuple[Held[Item], Probe]]:
        """The shards whose probes are over, each with what its probe saw; starts the next probe.

        After an outage, `OUTAGE` stands beside every shard that was held through it: it counts
        against none. Raises when the outage lasts too long.
        """
        if not self._held:
            return []
        if self._asked is None:
            if self._clock() >= self._next_at:
                self._asked = self._probe(self._held[0].fault)
            else:
                return []
        if not self._asked.done():
            return []
        seen, self._asked = self._asked.result(), None
        if seen is Probe.OUTAGE:
            self._pause_longer()
            return []
        if self._since is None:
            return [(self._held.popleft(), seen)]
        logger.warning("Storage answers again after %.0f s; the run goes on", self.outage_seconds)
        self._since, self._next_at, self._pause = None, 0.0, _FIRST_PAUSE_SECONDS
        released = [(held, Probe.OUTAGE) for held in self._held]
        self._held.clear()
        return released

    def _pause_longer(self) -> None:
        now, fault = self._clock(), self._held[0].fault
        if self._since is None:
            self._since = now
            logger.warning(
                "Storage does not answer, the run pauses for %g minutes at most: %s; %s",
                *(self._limit / 60, fault.what, _CHECK),
            )
        if now - self._since >= self._limit:
            raise StorageError(
                f"Storage did not answer for {(now - self._since) / 60:.1f} minutes (last: "
                f"{fault.what}); expected an outage of at most {self._limit / 60:g} minutes; "
                f"{_CHECK}; once it answers, the same command resumes; `--outage-minutes` waits "
                "longer"
            )
        self._next_at = now + self._pause
        self._pause = min(2 * self._pause, _LONGEST_PAUSE_SECONDS)
