"""The settings of a worker: output, identity, rules, storage, and tuning (threads and queues).

`fleet/run.py` makes them and sends them to every worker. Tuning changes speed and memory, never the
bytes of the output.
"""

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

    0 decode threads leaves their number to the worker (`decode_threads.py`), 0 packs in flight to
    the codec; only codecs on a GPU have packs in flight.
    """

    decode_threads: Annotated[int, Field(ge=0)] = 0
    ahead_seconds: float = 1800.0
    ahead_bytes: int = 64 << 20
    flush_after_seconds: float = 1.0
    packs_in_flight: int = 0


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """Everything a worker is told, as plain data."""

    output: str
    identity: "RunIdentity"
    rules: ReadRules
    storage: Storage
    tuning: Tuning
