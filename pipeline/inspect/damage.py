"""What could not be read of a shard, as its manifest tells, and how many clips that may have cost.

`verify.py` tells it. The output has no fault there: the source had.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

from pipeline.corpus.shard import is_tar
from pipeline.corpus.tar_reader import Hole
from pipeline.plural import plural

# The columns of the index that `Damage.of` takes, in this order.
DAMAGE_COLUMNS = ("url", "shard", "holes", "source_size_bytes", "clips_seen", "limited")


@dataclass(frozen=True, slots=True)
class Damage:
    """The holes of a shard; `missing_clips` is None where nothing tells how many there were."""

    url: str
    holes: tuple[Hole, ...]
    missing_clips: int | None

    @classmethod
    def of(
        cls,
        url: str,
        shard: str,
        holes: Sequence[Hole],
        size_bytes: int,
        clips_seen: int,
        limited: bool,
    ) -> "Damage | None":
        """The damage of a shard, given what its manifest says; None where it has no hole."""
        if not holes:
            return None
        missing: int | None
        if is_tar(shard):
            missing = None if limited else _clips_of_tar(shard, holes, size_bytes, clips_seen)
        else:
            missing = sum(hole.size_bytes for hole in holes)  # a row is a clip
        return cls(url, tuple(holes), missing)

    def __str__(self) -> str:
        if self.missing_clips is None:
            words = "nothing tells how many clips are missing"
        elif self.missing_clips:
            words = f"about {plural(self.missing_clips, 'clip')} may be missing"
        else:
            words = "no clip is missing, but some may be wrong"
        return f"{self.url}: {plural(len(self.holes), 'hole')}, {words}"


def _clips_of_tar(
    shard: str, holes: Sequence[Hole], size_bytes: int, clips_seen: int
) -> int | None:
    """As many clips as bytes in holes hold, where clips are as large there as those that are left.

    None where the end of the tar is missing, and where sizes are those of a compressed file.
    """
    lost = [hole for hole in holes if hole.kind != "checksum"]
    if not lost:
        return 0
    is_cut = any(
        hole.kind == "no_end" or hole.offset + hole.size_bytes >= size_bytes for hole in lost
    )
    lost_bytes = sum(hole.size_bytes for hole in lost)
    if is_cut or not clips_seen or not shard.endswith(".tar"):
        return None
    return ceil(lost_bytes * clips_seen / (size_bytes - lost_bytes))
