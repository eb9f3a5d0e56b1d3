"""What became of one shard in a worker."""

from dataclasses import dataclass

from pipeline.manifest import Manifest
from pipeline.shard import Shard
from pipeline.stage_clock import StageTime


@dataclass(frozen=True, slots=True)
class ShardOutcome:
    """A finished shard with its manifest, or a failed one with the reason.

    `stages` and `times_out_of_memory` are sums of the whole worker so far, not of this shard alone.
    """

    shard: Shard
    manifest: Manifest | None
    seconds: float
    error: str | None = None
    worker: str = ""
    stages: tuple[StageTime, ...] = ()
    times_out_of_memory: int = 0

    @property
    def is_done(self) -> bool:
        """Whether the shard's manifest was written."""
        return self.manifest is not None
