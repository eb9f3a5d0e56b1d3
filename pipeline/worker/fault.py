"""Whose fault it is that a worker could not do a shard; decided once, where an error is caught.

The threads of a worker and the Ray pool make a `Fault` of an error, `fleet/driver.py` acts on it.
Faults of a clip are not here: they are rows of the reject file.
"""

from dataclasses import dataclass
from enum import StrEnum

from pipeline.errors import (
    InputError,
    NodeError,
    NotFoundError,
    OutputError,
    RefusedError,
    StorageError,
    UsageError,
    what_happened,
)
from pipeline.storage.retries import describe


class Owner(StrEnum):
    """Whose fault it is, and with that, what the driver does next."""

    SHARD = "shard"  # it is damaged or gone: it is named, the others go on
    WORKER = "worker"  # its process broke: another worker tries the shard
    NODE = "node"  # no worker can work there: its work goes elsewhere
    STORAGE = "storage"  # inputs or output do not answer or refuse: the run pauses
    RUN = "run"  # no worker could do it: the run ends


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault and its owner.

    Attributes:
        url: the file that storage did not give, or the output that it did not take.
        is_answer: storage did answer: the file is not there, or not allowed.
        error: what ends the run, or what a worker in this process raised.
    """

    owner: Owner
    message: str
    url: str = ""
    is_answer: bool = False
    error: BaseException | None = None

    @property
    def what(self) -> str:
        """The message without its remedy."""
        return what_happened(self.message)


def fault_of(error: BaseException, url: str = "") -> Fault:
    """The fault that an error of a worker stands for."""
    match error:
        case StorageError():
            return Fault(Owner.STORAGE, str(error), url, is_answer=isinstance(error, RefusedError))
        case NotFoundError():
            return Fault(Owner.STORAGE, str(error), url, is_answer=True)
        # The driver listed the inputs, so that a package is missing on this node alone.
        case NodeError() | UsageError():
            return Fault(Owner.NODE, str(error), error=error)
        case OutputError():
            return Fault(Owner.RUN, str(error), error=error)
        case InputError():
            return Fault(Owner.SHARD, str(error))
        case _:
            return Fault(Owner.WORKER, describe(error), error=error)
