"""Which nodes are set aside: those on which nothing works, whatever the shard.

Pure logic, called by `driver.py`. A success of any worker of a node clears what was counted there.
"""

from dataclasses import dataclass, field

# Several shards can be bad, but hardly so many of different ones in a row on one node, beside
# those that its other workers have in hand.
_SHARDS_IN_A_ROW = 3
_STARTS_IN_A_ROW = 3
_PATIENCE_WITH_THE_LAST = 5


@dataclass(slots=True)
class _Faults:
    shards: set[str] = field(default_factory=set)
    losses: int = 0
    starts: int = 0


class NodeHealth:
    """Counts the faults of each node since its last success."""

    def __init__(self) -> None:
        self._faults: dict[str, _Faults] = {}

    def note_success(self, node: str) -> None:
        """A worker of the node finished a shard."""
        self._faults.pop(node, None)

    def note_loss(self, node: str, shard: str, num_workers: int, *, is_last: bool = False) -> bool:
        """A worker of the node failed or was lost; whether the node is to be set aside.

        With the last node the run ends, so that one takes more faults.
        """
        faults = self._faults.setdefault(node, _Faults())
        faults.shards.add(shard)
        faults.losses += 1
        limit = (_SHARDS_IN_A_ROW + num_workers) * (_PATIENCE_WITH_THE_LAST if is_last else 1)
        return len(faults.shards) >= limit or faults.losses >= 2 * limit

    def note_failed_start(self, node: str) -> bool:
        """A worker of the node did not start; whether the node is to be set aside."""
        faults = self._faults.setdefault(node, _Faults())
        faults.starts += 1
        return faults.starts >= _STARTS_IN_A_ROW

    def note_start(self, node: str) -> None:
        """A worker of the node started."""
        if node in self._faults:
            self._faults[node].starts = 0
