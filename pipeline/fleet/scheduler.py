"""Which worker does which shard next.

Pure logic without Ray, clock or storage, called by `ray/engine.py`. The largest shards go first. A
worker gets a second shard to read ahead while enough are left. What happens with a shard that fails
or loses its worker is decided in `quarantine.py`.
"""

import heapq
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from pipeline.fleet.quarantine import Case, Loss, QuarantinePolicy, Verdict


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


@dataclass(frozen=True, slots=True)
class Assignment(Generic[Item]):
    """One shard for one worker; `isolated` asks it to decode in a child process."""

    shard: Item
    isolated: bool


class Scheduler(Generic[Item]):
    """Hands out the shards of a run; every shard ends done, failed or quarantined, exactly once."""

    def __init__(self, shards: Iterable[Item], policy: QuarantinePolicy | None = None) -> None:
        limits = policy or QuarantinePolicy()
        self._waiting = [_entry(Case(shard, limits)) for shard in shards]
        self._num_shards = len(self._waiting)
        heapq.heapify(self._waiting)
        self._suspects: list[Case[Item]] = []
        self._hands: dict[str, list[Case[Item]]] = {}
        self._starved: set[str] = set()
        self._draining: set[str] = set()
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
        if worker in self._draining:
            return None
        case = self._prefetch(worker, hand) if hand else self._next_for_idle(worker)
        if case is None:
            return None
        hand.append(case)
        return Assignment(case.shard, case.is_isolated)

    def _next_for_idle(self, worker: str) -> Case[Item] | None:
        self._starved.discard(worker)
        if self._suspects:
            return self._suspects.pop()
        return heapq.heappop(self._waiting)[-1] if self._waiting else None

    def _prefetch(self, worker: str, hand: list[Case[Item]]) -> Case[Item] | None:
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
        verdict = case.fail(final=final)
        if verdict is Verdict.FAILED:
            self.failed.append(case.shard)
        else:
            self._requeue(case)
        return verdict

    def give_back(self, worker: str, path: str) -> None:
        """A draining worker returns a shard that it never started; it gets no other one."""
        self._draining.add(worker)
        self._starved.discard(worker)
        self._requeue(self._put_down(worker, path))

    def is_drained(self, worker: str) -> bool:
        """Whether a draining worker finished all it had, so that it can be replaced."""
        return worker in self._draining and not self._hands[worker]

    def lose(self, worker: str, loss: Loss) -> list[tuple[Item, Verdict]]:
        """A worker is gone: its shards go back; one that it held alone may get a strike."""
        hand = self._hands.pop(worker)
        self._starved.discard(worker)
        self._draining.discard(worker)
        verdicts = []
        for case in hand:
            verdict = case.lose_worker(loss, alone=len(hand) == 1)
            verdicts.append((case.shard, verdict))
            if verdict is Verdict.QUARANTINED:
                self.quarantined.append(case.shard)
            else:
                self._requeue(case)
        return verdicts

    def _requeue(self, case: Case[Item]) -> None:
        if case.suspected:
            self._suspects.append(case)
        else:
            heapq.heappush(self._waiting, _entry(case))

    def _put_down(self, worker: str, path: str) -> Case[Item]:
        hand = self._hands[worker]
        return hand.pop(next(i for i, case in enumerate(hand) if case.shard.path == path))


def _entry(case: Case[Item]) -> tuple[int, str, Case[Item]]:
    # Paths are unique, so the heap never compares two cases.
    return -case.shard.size_bytes, case.shard.path, case
