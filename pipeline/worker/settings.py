"""The settings of a worker: output, identity, rules, storage, and tuning (threads and queues).

`fleet/run.py` makes them and sends them to every worker. Tuning changes speed and memory, never the
bytes of the output.
"""

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import pydantic.dataclasses
from pydantic import Field

from pipeline.corpus.rules import ReadRules
from pipeline.storage.client import Storage

if TYPE_CHECKING:
    # Command lines import `Tuning`; the identity would bring numpy and pyarrow with it.
    from pipeline.output.identity import RunIdentity


@pydantic.dataclasses.dataclass(frozen=True, slots=True)
class Tuning:
    """Threads and queues of one worker.

    0 decode threads means one fewer than there are cores. 0 packs in flight leaves the number to
    the codec; only codecs on a GPU have it.
    """

    decode_threads: Annotated[int, Field(ge=0)] = 0
    ahead_seconds: float = 1800.0
    ahead_bytes: int = 64 << 20
    flush_after_seconds: float = 1.0
    packs_in_flight: int = 0

    @property
    def num_decode_threads(self) -> int:
        """How many decoding threads to start."""
        return self.decode_threads or max(1, len(os.sched_getaffinity(0)) - 1)


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """Everything a worker is told, as plain data."""

    output: str
    identity: "RunIdentity"
    rules: ReadRules
    storage: Storage
    tuning: Tuning
