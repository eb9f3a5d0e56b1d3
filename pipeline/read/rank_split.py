"""Splits the parts of a dataset over ranks and loader workers, so that each part has one reader."""

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pipeline.errors import UsageError

_COUNT_SHIFT = 32


@dataclass(frozen=True, slots=True)
class Stream:
    """What one loader worker of one rank reads: stream `number` of `count`."""

    number: int
    count: int

    @classmethod
    def of(cls, rank: int, world_size: int, worker: int, num_workers: int) -> "Stream":
        """The stream of a loader worker of a rank."""
        # Ranks take turns, so that each gets parts: one without data would make the others wait.
        return cls(worker * world_size + rank, world_size * num_workers)

    @property
    def id(self) -> int:
        """The number in saved positions; it holds how many streams there are as well."""
        return self.number + (self.count << _COUNT_SHIFT)

    def parts(self, parts: Sequence[str], shuffle_seed: str | None) -> list[str]:
        """The parts of this stream, in the order in which it reads them."""
        ordered = list(parts)
        if shuffle_seed is not None:
            # Every stream shuffles all parts in the same way, so that each part has one reader.
            random.Random(shuffle_seed).shuffle(ordered)
        return ordered[self.number :: self.count]

    def check_saved(self, ids: Iterable[int]) -> None:
        """Refuse a position of another number of streams."""
        saved = {each >> _COUNT_SHIFT for each in ids} - {self.count}
        if saved:
            raise UsageError(
                f"The position was saved with {saved.pop()} streams (ranks times loader workers), "
                f"now there are {self.count}; expected as many, or some clips would be read twice "
                "and others never. Use as many ranks and workers as then, or begin an epoch with a "
                "new position"
            )
