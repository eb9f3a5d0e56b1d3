"""What became of one shard in a worker."""

from dataclasses import dataclass

from pipeline.manifest import Manifest
from pipeline.shard import Shard


@dataclass(frozen=True, slots=True)
class ShardOutcome:
    """A finished shard with its manifest, or a failed one with the reason."""

    shard: Shard
    manifest: Manifest | None
    seconds: float
    error: str | None = None

    @property
    def is_done(self) -> bool:
        """Whether the shard's manifest was written."""
        return self.manifest is not None
