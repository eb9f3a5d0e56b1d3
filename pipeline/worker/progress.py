"""How far a worker is, as plain data: what it did in all its life, and the shards it has in hand.

`worker.py` makes it whenever the driver asks, from counts that its threads keep anyway.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from pipeline.output.manifest import Manifest
from pipeline.worker.stage_times import StageTime


@dataclass(frozen=True, slots=True)
class ClipCounts:
    """Clips by how they ended, and seconds of source audio of those that became codes."""

    codes: int = 0
    filtered: int = 0
    source_seconds: float = 0.0
    rejects: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of_manifest(cls, manifest: Manifest) -> "ClipCounts":
        """The counts of a finished shard."""
        return cls(
            manifest.codes,
            manifest.filtered,
            manifest.source_seconds,
            manifest.rejects_by_reason,
        )

    @property
    def clips(self) -> int:
        """All clips that are settled."""
        return self.codes + self.filtered + sum(self.rejects.values())

    def plus(self, other: "ClipCounts") -> "ClipCounts":
        """The sum of both."""
        return ClipCounts(
            self.codes + other.codes,
            self.filtered + other.filtered,
            self.source_seconds + other.source_seconds,
            _sum(self.rejects, other.rejects),
        )


def _sum(some: Mapping[str, int], others: Mapping[str, int]) -> Mapping[str, int]:
    # Nearly always one of them is empty, and a driver adds up thousands a second.
    return Counter(some) + Counter(others) if some and others else some or others


@dataclass(frozen=True, slots=True)
class ShardProgress:
    """A shard in hand: bytes read of its size, clips found in them, and clips that are settled.

    `size_bytes` is below 0 where no listing told it.
    """

    path: str
    size_bytes: int
    bytes_read: int
    clips_found: int
    counts: ClipCounts

    @property
    def bytes_done(self) -> int:
        """The share of the bytes read whose clips are settled; reading runs far ahead of it."""
        share = self.counts.clips / max(1, self.clips_found)
        read = self.bytes_read if self.size_bytes < 0 else min(self.bytes_read, self.size_bytes)
        return round(read * min(1.0, share))


@dataclass(frozen=True, slots=True)
class WorkerProgress:
    """What a worker did in all its life, and where it is.

    Attributes:
        steps: a count that grows with all work; a worker hangs when it stands still.
        counts: clips settled and seconds of audio encoded, also of shards that failed.
        bytes_read: of all shards.
        shards: those that it began and did not finish.
        last_stage: the stage that made the latest step; empty before the first one.
        idle_seconds: how long ago that was.
        stages: busy seconds of each stage.
        times_out_of_memory: how often GPU memory was too small for one more pack in flight.
        reruns_in_exact: how many windows of clips half precision could not hold.
    """

    steps: int = 0
    counts: ClipCounts = ClipCounts()
    bytes_read: int = 0
    shards: tuple[ShardProgress, ...] = ()
    last_stage: str = ""
    idle_seconds: float = 0.0
    stages: tuple[StageTime, ...] = ()
    times_out_of_memory: int = 0
    reruns_in_exact: int = 0
