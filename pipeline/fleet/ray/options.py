"""The options of the Ray engine: workers, their share of a node, and how long it waits for them."""

from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic.dataclasses import dataclass

from pipeline.fleet.drain import DRAIN_SECONDS

_Positive = Annotated[float, Field(gt=0)]


def _check_gpus(gpus: float) -> float:
    if gpus > 1 and gpus % 1:
        raise ValueError("above 1 only whole GPUs can be given to a worker")
    return gpus


@dataclass(frozen=True, slots=True)
class RayOptions:
    """What the user asked of Ray; where it is None, the cluster decides.

    Attributes:
        workers: how many workers; `auto` starts all that fit.
        gpus_per_worker: GPUs of a worker; default: 1 where there are GPUs.
        cpus_per_worker: CPUs of a worker; default: an equal share of its node.
        cluster: a running cluster, for `submit` the URL of its job server; else one is started.
        drain_seconds: how long workers may finish what they have after SIGTERM.
        hang_minutes: replace a worker that makes no progress for so long.
        outage_minutes: pause so long while storage does not answer, then end the run.
        load_minutes: replace a worker whose codec is not loaded after so long. Two gigabytes in
            this time are a megabyte a second; what takes longer stands still.
    """

    workers: Annotated[
        Annotated[int, Field(ge=1)] | None,
        BeforeValidator(lambda value: None if value == "auto" else value),
    ] = None
    gpus_per_worker: Annotated[float, Field(ge=0), AfterValidator(_check_gpus)] | None = None
    cpus_per_worker: _Positive | None = None
    cluster: str | None = None
    drain_seconds: _Positive = DRAIN_SECONDS
    hang_minutes: _Positive = 15.0
    outage_minutes: _Positive = 60.0
    load_minutes: _Positive = 30.0
