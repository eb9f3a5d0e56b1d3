"""When a shard is tried again, isolated, failed or quarantined, and after how many faults.

Pure logic, called by `scheduler.py`, which keeps one `Case` for every shard. A shard gets a strike
only when a worker that held this shard alone died, on a live node, at a place that finished other
shards, also since the last strike there. When a worker dies with two shards, both become suspects
and are tried again, each alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Loss(Enum):
    """Why a worker is gone; only `DIED` and `BROKE` can be the fault of a shard."""

    DIED = "died"  # its process ended or hung, on a live node
    BROKE = "broke"  # an error that no rule of ours knows ended its work
    OUT_OF_MEMORY = "out_of_memory"  # Ray ended it because the memory of its node ran out
    NODE_FAULT = "node_fault"  # it said itself that no worker can work on its node
    NODE_LOST = "node_lost"
    DRAINED = "drained"


class Verdict(Enum):
    """What happens next with a shard that failed or lost its worker."""

    AGAIN = "again"  # any worker tries it again
    SUSPECTED = "suspected"  # tried again, alone on a worker
    ISOLATED = "isolated"  # tried again alone, with decoding in a child process
    QUARANTINED = "quarantined"  # never tried again in this run
    GIVEN_UP = "given up"  # the same, where it may as well be the only place that is left
    FAILED = "failed"  # never tried again in this run


@dataclass(frozen=True, slots=True)
class QuarantinePolicy:
    """How many deaths isolate a shard, how many strikes quarantine it, and so on.

    A worker that raises gives two strikes, because decoding apart does not help there. A shard that
    loses `max_deaths` workers is given up where no other shard shows that its place works, and so
    is one that was alone on `max_node_faults` nodes that failed.
    """

    isolate_at_death: int = 2
    quarantine_at_strike: int = 4
    max_deaths: int = 6
    max_storage_faults: int = 5
    max_node_faults: int = 3


@dataclass(slots=True)
class Case(Generic[Item]):
    """A shard and the faults that happened to it in this run.

    `begun` is whether its present worker took it; `proofs_at` are the shards that had been finished
    at a place when this one lost a worker there, `storage_proofs_at` the same of nodes.
    """

    shard: Item
    policy: QuarantinePolicy
    strikes: int = 0
    deaths: int = 0
    storage_faults: int = 0
    node_faults: int = 0
    suspected: bool = False
    begun: bool = False
    proofs_at: dict[str, int] = field(default_factory=dict)
    storage_proofs_at: dict[str, int] = field(default_factory=dict)

    @property
    def is_isolated(self) -> bool:
        """Whether its clips are decoded in a child process, which blames nobody."""
        return self.deaths >= self.policy.isolate_at_death

    def may_run_at(self, proofs: Mapping[str, int]) -> bool:
        """Whether a loss there would say something of the shard.

        `proofs` are the shards finished so far at a place and on its node.
        """
        return all(count > self.proofs_at.get(known, 0) for known, count in proofs.items())

    def fail_storage(self, node: str, proofs: int) -> Verdict:
        """A node did not get or put this shard, though storage answers the driver.

        It counts once, until the node finished other shards: the node may be cut off. Without a
        node it counts always: the driver does not get this shard either, but gets others.
        """
        if not node or proofs > self.storage_proofs_at.get(node, 0):
            self.storage_proofs_at[node] = proofs
            self.storage_faults += 1
        is_over = self.storage_faults >= self.policy.max_storage_faults
        return Verdict.FAILED if is_over else Verdict.AGAIN

    def lose_worker(self, loss: Loss, *, alone: bool, proofs: Mapping[str, int]) -> Verdict:
        """Its worker is gone, and held no other shard if it was `alone`."""
        if loss is Loss.NODE_FAULT and alone:
            self.node_faults += 1
            is_over = self.node_faults >= self.policy.max_node_faults
            return Verdict.GIVEN_UP if is_over else Verdict.AGAIN
        if loss is Loss.OUT_OF_MEMORY and alone and self.begun:
            # Whoever took the memory, a shard that is alone each time is named in the end.
            self.deaths += 1
            return Verdict.GIVEN_UP if self.deaths >= self.policy.max_deaths else Verdict.AGAIN
        if loss not in (Loss.DIED, Loss.BROKE) or not self.begun:
            return Verdict.AGAIN
        self.suspected = True
        if not alone:
            return Verdict.SUSPECTED
        self.deaths += 1
        if self.may_run_at(proofs):
            self.strikes += 2 if loss is Loss.BROKE else 1
            self.proofs_at |= proofs
        if self.strikes >= self.policy.quarantine_at_strike:
            return Verdict.QUARANTINED
        if self.deaths >= self.policy.max_deaths:
            return Verdict.GIVEN_UP
        return Verdict.ISOLATED if self.is_isolated else Verdict.SUSPECTED
