"""Which worker does which shard next.

Pure logic without Ray, clock or storage, called by `driver.py`. The largest shards go first. A
worker gets more shards to read ahead while enough are left. What happens with a shard that loses
its worker is decided in `quarantine.py`; a suspect goes to a place that has not lost a worker to it
since it last finished a shard.
"""

import heapq
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from pipeline.fleet.quarantine import Case, Loss, QuarantinePolicy, Verdict

# A worker reads ahead one shard, and more where they are small: half an hour of MP3, which the
# fastest worker encodes in the time that a few calls take.
_AHEAD_BYTES = 32 << 20
MOST_IN_HAND = 8


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


@dataclass(frozen=True, slots=True)
class LostShard(Generic[Item]):
    """A shard whose worker is gone; the loss of a suspect says little of the node."""

    shard: Item
    verdict: Verdict
    was_suspect: bool


class Scheduler(Generic[Item]):
    """Hands out the shards of a run; every shard ends done, failed or quarantined, exactly once."""

    def __init__(self, shards: Iterable[Item], policy: QuarantinePolicy | None = None) -> None:
        limits = policy or QuarantinePolicy()
        self._waiting = [_entry(Case(shard, limits)) for shard in shards]
        self._num_shards = len(self._waiting)
        heapq.heapify(self._waiting)
        self._suspects: list[Case[Item]] = []
        self._held: dict[str, Case[Item]] = {}
        self._hands: dict[str, list[Case[Item]]] = {}
        self._places: dict[str, str] = {}
        self._proofs: Counter[str] = Counter()
        self._starved: set[str] = set()
        self._draining: set[str] = set()
        self.num_done = 0
        self.failed: list[Item] = []
        self.quarantined: list[Item] = []

    @property
    def num_left(self) -> int:
        """Shards that are not done, failed or quarantined, including those that workers hold."""
        return self._num_shards - self.num_done - len(self.failed) - len(self.quarantined)

    @property
    def num_in_hand(self) -> int:
        """Shards that workers hold."""
        return self.num_left - len(self._waiting) - len(self._suspects) - len(self._held)

    @property
    def has_suspects(self) -> bool:
        """Whether a shard waits for a worker that is empty, and maybe for a certain place."""
        return bool(self._suspects)

    def add_worker(self, worker: str, place: str = "") -> None:
        """A worker is ready to take shards; workers of one place may fail for the same reason."""
        self._hands.setdefault(worker, [])
        self._places[worker] = place

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
        case.begun = False
        hand.append(case)
        return Assignment(case.shard, case.is_isolated)

    def _next_for_idle(self, worker: str) -> Case[Item] | None:
        self._starved.discard(worker)
        for index in range(len(self._suspects)):
            if self._may_run(self._suspects[index], self._places[worker]):
                return self._suspects.pop(index)
        if self._waiting:
            return heapq.heappop(self._waiting)[-1]
        # Only suspects are left, of which this place has lost workers already: others come first.
        others = {place for w, place in self._places.items() if w not in self._draining}
        for index in range(len(self._suspects)):
            if not any(self._may_run(self._suspects[index], place) for place in others):
                return self._suspects.pop(index)
        return None

    def _may_run(self, case: Case[Item], place: str) -> bool:
        return case.may_run_at(self._proofs_of(place))

    def _proofs_of(self, place: str) -> dict[str, int]:
        return {known: self._proofs[known] for known in (place, node_of(place))}

    def _prefetch(self, worker: str, hand: list[Case[Item]]) -> Case[Item] | None:
        ahead_bytes = sum(case.shard.size_bytes for case in hand[1:])
        is_full = len(hand) >= MOST_IN_HAND or (len(hand) > 1 and ahead_bytes >= _AHEAD_BYTES)
        if is_full or hand[0].suspected:
            return None
        # A suspect runs alone on a worker, so for each suspect one worker gets no second shard.
        if worker in self._starved or len(self._suspects) > len(self._starved):
            self._starved.add(worker)
            return None
        # Near the end a shard ahead would wait for this worker while another worker is free.
        if len(self._waiting) < 2 * len(self._hands):
            return None
        return heapq.heappop(self._waiting)[-1]

    def accept(self, worker: str, path: str) -> None:
        """A worker has the shard in its process, so that the shard can be what ends it."""
        for case in self._hands[worker]:
            if case.shard.path == path:
                case.begun = True

    def finish(self, worker: str, path: str) -> None:
        """A worker wrote the manifest of a shard, which shows that its place works."""
        self._put_down(worker, path)
        self.num_done += 1
        self._proofs.update(self._proofs_of(self._places[worker]).keys())

    def fail(self, worker: str, path: str) -> None:
        """A worker found that a shard cannot be done; it is named and not tried again."""
        self.failed.append(self._put_down(worker, path).shard)

    def hold(self, worker: str, path: str) -> None:
        """Keep a shard that storage did not give or take until it is known why."""
        self._held[path] = self._put_down(worker, path)

    def release(
        self, path: str, *, counts_at: str | None = None, is_final: bool = False
    ) -> Verdict:
        """Let a held shard go on, or fail it: at once, or once too often at nodes that work.

        `counts_at` is the node that storage did not answer, empty where it answered no node.
        """
        case = self._held.pop(path)
        verdict = Verdict.AGAIN
        if counts_at is not None:
            verdict = case.fail_storage(counts_at, self._proofs[counts_at])
        if is_final or verdict is Verdict.FAILED:
            self.failed.append(case.shard)
            return Verdict.FAILED
        self._requeue(case)
        return verdict

    def drain(self, worker: str) -> None:
        """Give a worker no more shards: its node goes away."""
        self._draining.add(worker)
        self._starved.discard(worker)

    def give_back(self, worker: str, path: str) -> None:
        """A draining worker returns a shard that it never started; it gets no other one."""
        self.drain(worker)
        self._requeue(self._put_down(worker, path))

    @property
    def drained(self) -> list[str]:
        """Draining workers that finished all they had, so that they can be replaced."""
        return sorted(worker for worker in self._draining if not self._hands[worker])

    def lose(self, worker: str, loss: Loss) -> list[LostShard[Item]]:
        """A worker is gone: its shards go back; one that it held alone may get a strike."""
        hand = self._hands.pop(worker)
        proofs = self._proofs_of(self._places.pop(worker))
        self._starved.discard(worker)
        self._draining.discard(worker)
        lost = []
        for case in hand:
            was_suspect = case.suspected
            verdict = case.lose_worker(loss, alone=len(hand) == 1, proofs=proofs)
            lost.append(LostShard(case.shard, verdict, was_suspect))
            if verdict in (Verdict.QUARANTINED, Verdict.GIVEN_UP):
                self.quarantined.append(case.shard)
            else:
                self._requeue(case)
        return lost

    def _requeue(self, case: Case[Item]) -> None:
        if case.suspected:
            self._suspects.append(case)
        else:
            heapq.heappush(self._waiting, _entry(case))

    def _put_down(self, worker: str, path: str) -> Case[Item]:
        hand = self._hands[worker]
        return hand.pop(next(i for i, case in enumerate(hand) if case.shard.path == path))


def node_of(place: str) -> str:
    """The node of a place, which is `NODE` or `NODE:ACCELERATOR`."""
    return place.partition(":")[0]


def _entry(case: Case[Item]) -> tuple[int, str, Case[Item]]:
    # Paths are unique, so the heap never compares two cases.
    return -case.shard.size_bytes, case.shard.path, case
