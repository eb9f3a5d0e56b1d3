"""What a worker needs to know: the rules that shape the rows, where to write, and how to tune.

Rules are part of the run's identity; tuning is free and changes no byte.
"""

import os
from dataclasses import dataclass

from pipeline.errors import UsageError
from pipeline.run_record import RunIdentity
from pipeline.storage import Storage
from pipeline.where_filter import parse_where

DEFAULT_DECODER = "pipeline.decode:decode_clip"


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


@dataclass(frozen=True, slots=True)
class Tuning:
    """Threads and queues of one worker; 0 decode threads means one less than there are cores.

    `packs_in_flight` is for codecs on an accelerator; 0 leaves it to the codec.
    """

    decode_threads: int = 0
    ahead_seconds: float = 1800.0
    ahead_bytes: int = 64 << 20
    flush_after_seconds: float = 1.0
    packs_in_flight: int = 0

    @property
    def num_decode_threads(self) -> int:
        """The decode threads to start."""
        return self.decode_threads or max(1, len(os.sched_getaffinity(0)) - 1)


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """Everything a worker is told; plain data, sent to every worker of a run."""

    output: str
    identity: RunIdentity
    rules: ReadRules
    storage: Storage
    tuning: Tuning
