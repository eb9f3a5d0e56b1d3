"""What of a shard that was done earlier counts for how a run ends."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.location import redact
from pipeline.manifest import Manifest


@dataclass(frozen=True, slots=True)
class ShardEnding:
    """The damage and the rejects of one finished shard."""

    url: str
    holes: int
    codes: int
    rejects: int

    @classmethod
    def of_event(cls, event: Mapping[str, Any]) -> "ShardEnding":
        """From a line of the event log."""
        counts = (int(event[name]) for name in ("holes", "codes", "rejects"))
        return cls(str(event["shard"]), *counts)

    @classmethod
    def of_manifest(cls, manifest: Manifest) -> "ShardEnding":
        """From the manifest."""
        holes = len(manifest.holes)
        return cls(redact(manifest.url), holes, manifest.codes, manifest.rejects)
