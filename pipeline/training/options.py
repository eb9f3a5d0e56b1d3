"""The options of a training run that are not the recipe's: who trains."""

from typing import Annotated

from pydantic import Field
from pydantic.dataclasses import dataclass

_Workers = Annotated[int, Field(ge=1)]


@dataclass(frozen=True, slots=True)
class TogetherOptions:
    """Who trains.

    Attributes:
        workers: processes that share every step, each on a GPU where there are GPUs; more than
            one are placed by Ray.
        cluster: a running Ray cluster; else one is started on this machine.
        cpus_per_worker: CPUs of a worker.
        restarts: how often lost workers are replaced before the command ends.
    """

    workers: _Workers = 1
    cluster: str | None = None
    cpus_per_worker: Annotated[float, Field(gt=0)] = 1.0
    restarts: Annotated[int, Field(ge=0)] = 3

    @property
    def by_ray(self) -> bool:
        """Whether Ray is needed."""
        return self.workers > 1 or self.cluster is not None
