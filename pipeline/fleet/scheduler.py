"""Which worker does which shard next, and when a shard is retried, isolated or quarantined.

Pure logic without Ray, clock or storage, called by `ray/engine.py`. The largest shards go first. A
worker gets a second shard to read ahead while enough are left. A shard gets a strike only when a
worker on a live node died while it held this shard alone. When a worker dies with two shards, both
become suspects and are tried again, each alone on a worker.
"""

import heapq
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Generic, Protocol, TypeVar


class Sized(Protocol):
    """What the scheduler needs to know about a shard."""

    @property
    def path(self) -> str:
        """The name, unique in the run."""
        ...

    @property
    def size_bytes(self) -> int:
        """The size; larger shards go first."""
        ...


Item = TypeVar("Item", bound=Sized)


class Loss(Enum):
    """Why a worker is gone; only `DIED`, a death on a live node, can be the fault of a shard."""

    DIED = "died"
    NODE_LOST = "node_lost"
    DRAINED = "drained"


class Verdict(Enum):
    """What happens next with a shard that failed or lost its worker."""

    AGAIN = "again"  # any worker tries it again
    SUSPECTED = "suspected"  # tried again, alone on a worker
    ISOLATED = "isolated"  # tried again alone, with decoding in a child process
    QUARANTINED = "quarantined"  # never tried again in this run
    FAILED = "failed"  # never tried again in this run


@dataclass(frozen=True, slots=True)
class QuarantinePolicy:
    """How many deaths of workers isolate or quarantine a shard, and how often it may fail."""

    isolate_at_strike: int = 2
    quarantine_at_strike: int = 4
    max_failures: int = 2


@dataclass(frozen=True, slots=True)
class Assignment(Generic[Item]):
    """One shard for one worker; `isolated` asks it to decode in a child process."""

    shard: Item
    isolated: bool


@dataclass(slots=True)
class _Case(Generic[Item]):
    shard: Item
    strikes: int = 0
    failures: int = 0
    suspected: bool = False


class Scheduler(Generic[Item]):
    """Hands out the shards of a run; every shard ends done, failed or quarantined, exactly once."""

    def __init__(self, shards: Iterable[Item], policy: QuarantinePolicy | None = None) -> None:
        self._policy = policy or QuarantinePolicy()
        self._waiting = [_entry(_Case(shard)) for shard in shards]
        self._num_shards = len(self._waiting)
        heapq.heapify(self._waiting)
        self._suspects: list[_Case[Item]] = []
        self._hands: dict[str, list[_Case[Item]]] = {}
        self._starved: set[str] = set()
        self.done: list[str] = []
        self.failed: list[Item] = []
        self.quarantined: list[Item] = []

    @property
    def num_left(self) -> int:
        """Shards that are not done, failed or quarantined, including those that workers hold."""
        return self._num_shards - len(self.done) - len(self.failed) - len(self.quarantined)

    @property
    def num_in_hand(self) -> int:
        """Shards that workers hold."""
        return self.num_left - len(self._waiting) - len(self._suspects)

    def add_worker(self, worker: str) -> None:
        """A worker is ready to take shards."""
        self._hands.setdefault(worker, [])

    def in_hand(self, worker: str) -> list[Item]:
        """The shards a worker holds, oldest first."""
        return [case.shard for case in self._hands[worker]]

    def take(self, worker: str) -> Assignment[Item] | None:
        """The next shard for a worker, or None when it should get no more for now."""
        hand = self._hands[worker]
        case = self._prefetch(worker, hand) if hand else self._next_for_idle(worker)
        if case is None:
            return None
        hand.append(case)
        return Assignment(case.shard, case.strikes >= self._policy.isolate_at_strike)

    def _next_for_idle(self, worker: str) -> _Case[Item] | None:
        self._starved.discard(worker)
        if self._suspects:
            return self._suspects.pop()
        return heapq.heappop(self._waiting)[-1] if self._waiting else None

    def _prefetch(self, worker: str, hand: list[_Case[Item]]) -> _Case[Item] | None:
        if len(hand) > 1 or hand[0].suspected:
            return None
        # A suspect runs alone on a worker, so for each suspect one worker gets no second shard.
        if worker in self._starved or len(self._suspects) > len(self._starved):
            self._starved.add(worker)
            return None
        # Near the end a second shard would wait for this worker while another worker is free.
        if len(self._waiting) < len(self._hands):
            return None
        return heapq.heappop(self._waiting)[-1]

    def finish(self, worker: str, path: str) -> None:
        """A worker wrote the manifest of a shard."""
        self.done.append(self._put_down(worker, path).shard.path)

    def fail(self, worker: str, path: str, *, final: bool = False) -> Verdict:
        """A worker could not do a shard, but lives on.

        The shard is tried again, unless this is `final` or it failed `max_failures` times.
        """
        case = self._put_down(worker, path)
        case.failures += 1
        if final or case.failures >= self._policy.max_failures:
            self.failed.append(case.shard)
            return Verdict.FAILED
        self._requeue(case)
        return Verdict.AGAIN

    def give_back(self, worker: str, path: str) -> None:
        """A worker returns a shard it never started."""
        self._requeue(self._put_down(worker, path))

    def lose(self, worker: str, loss: Loss) -> list[tuple[Item, Verdict]]:
        """A worker is gone: its shards go back; one that it held alone may get a strike."""
        hand = self._hands.pop(worker)
        self._starved.discard(worker)
        if loss is not Loss.DIED:
            judge = self._requeue
        else:
            judge = self._strike if len(hand) == 1 else self._suspect
        return [(case.shard, judge(case)) for case in hand]

    def _requeue(self, case: _Case[Item]) -> Verdict:
        if case.suspected:
            self._suspects.append(case)
        else:
            heapq.heappush(self._waiting, _entry(case))
        return Verdict.AGAIN

    def _suspect(self, case: _Case[Item]) -> Verdict:
        case.suspected = True
        self._suspects.append(case)
        return Verdict.SUSPECTED

    def _strike(self, case: _Case[Item]) -> Verdict:
        case.strikes += 1
        if case.strikes >= self._policy.quarantine_at_strike:
            self.quarantined.append(case.shard)
            return Verdict.QUARANTINED
        isolated = case.strikes >= self._policy.isolate_at_strike
        self._suspect(case)
        return Verdict.ISOLATED if isolated else Verdict.SUSPECTED

    def _put_down(self, worker: str, path: str) -> _Case[Item]:
        hand = self._hands[worker]
        return hand.pop(next(i for i, case in enumerate(hand) if case.shard.path == path))


def _entry(case: _Case[Item]) -> tuple[int, str, _Case[Item]]:
    # Paths are unique, so the heap never compares two cases.
    return -case.shard.size_bytes, case.shard.path, case
