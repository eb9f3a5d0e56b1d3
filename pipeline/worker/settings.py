"""What a worker needs to know: the rules that shape the rows, where to write, and how to tune.

Rules are part of the run's identity; tuning is free and changes no byte.
"""

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline.corpus.rules import ReadRules
from pipeline.storage.client import Storage

if TYPE_CHECKING:
    # Command lines import `Tuning`; the identity would bring numpy and pyarrow with it.
    from pipeline.output.identity import RunIdentity


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
    identity: "RunIdentity"
    rules: ReadRules
    storage: Storage
    tuning: Tuning
