"""The rules of a run: which clips of a shard become rows of its part, and how they are decoded.

They are part of the run's identity: another rule needs another output.
"""

from dataclasses import dataclass

from pipeline.corpus.where import parse_where
from pipeline.errors import UsageError

DEFAULT_DECODER = "pipeline.corpus.decode:decode_clip"


@dataclass(frozen=True, slots=True)
class ReadRules:
    """What becomes a row and what does not."""

    where: str | None = None
    limit: int | None = None
    require_json: bool = False
    max_clip_seconds: float | None = None
    max_member_bytes: int = 512 << 20
    root: str = ""
    decoder: str = DEFAULT_DECODER

    def check(self) -> list[str]:
        """Every fault of the rules, for one message."""
        faults = []
        if self.limit is not None and self.limit < 1:
            faults.append(f"`--limit {self.limit}` leaves no clip; expected 1 or more")
        if self.max_clip_seconds is not None and not self.max_clip_seconds > 0:
            faults.append(f"`--max-clip-seconds {self.max_clip_seconds:g}`; expected more than 0")
        if self.max_member_bytes < 1:
            faults.append(f"`--max-member-mb {self.max_member_bytes >> 20}`; expected 1 or more")
        if self.where is not None:
            try:
                parse_where(self.where)
            except UsageError as error:
                faults.append(str(error))
        return faults
