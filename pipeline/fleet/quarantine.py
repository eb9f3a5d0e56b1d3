"""When a shard is tried again, isolated, failed or quarantined, and after how many faults.

Pure logic, called by `scheduler.py`, which keeps one `Case` for every shard. A shard gets a strike
only when a worker on a live node died while it held this shard alone. When a worker dies with two
shards, both become suspects and are tried again, each alone on a worker.
"""

from dataclasses import dataclass
from enum import Enum
from typing import Generic, TypeVar

Item = TypeVar("Item")


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


@dataclass(slots=True)
class Case(Generic[Item]):
    """A shard and the faults that happened to it in this run."""

    shard: Item
    policy: QuarantinePolicy
    strikes: int = 0
    failures: int = 0
    suspected: bool = False

    @property
    def is_isolated(self) -> bool:
        """Whether its clips are decoded in a child process."""
        return self.strikes >= self.policy.isolate_at_strike

    def fail(self, *, final: bool) -> Verdict:
        """Its worker could not do it, but lives on."""
        self.failures += 1
        is_over = final or self.failures >= self.policy.max_failures
        return Verdict.FAILED if is_over else Verdict.AGAIN

    def lose_worker(self, loss: Loss, *, alone: bool) -> Verdict:
        """Its worker is gone, and held no other shard if it was `alone`."""
        if loss is not Loss.DIED:
            return Verdict.AGAIN
        self.suspected = True
        if not alone:
            return Verdict.SUSPECTED
        self.strikes += 1
        if self.strikes >= self.policy.quarantine_at_strike:
            return Verdict.QUARANTINED
        return Verdict.ISOLATED if self.is_isolated else Verdict.SUSPECTED
