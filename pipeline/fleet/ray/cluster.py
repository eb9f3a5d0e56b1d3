"""The connection to Ray: a cluster that was named, or one started here for this run alone."""

import logging
import os
from collections.abc import Sequence
from typing import Any

from pipeline.errors import UsageError
from pipeline.fleet.worker_count import NodeSize

logger = logging.getLogger(__name__)
# Waveforms and codes never go through the object store; Ray refuses less than 75 MiB.
_OBJECT_STORE_BYTES = 128 << 20


def connect(address: str | None) -> bool:
    """Connect to the cluster at `address` or `RAY_ADDRESS`, or start one; whether it is our own."""
    import ray

    wanted = address or os.environ.get("RAY_ADDRESS")
    if ray.is_initialized():
        return False
    if wanted:
        logger.info("Connecting to the Ray cluster at `%s`", wanted)
        try:
            ray.init(address=wanted, logging_level=logging.ERROR)
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise UsageError(
                f"No Ray cluster answers at `{wanted}` ({error}); expected the address of a "
                "running one; check `--address` and `RAY_ADDRESS`, or leave out both to start one"
            ) from error
        return True
    logger.info("Starting Ray on this machine")
    # Ray reports that a token guards the cluster. That is always so, and would only worry the user.
    logging.getLogger("ray._private.authentication.authentication_token_setup").setLevel("ERROR")
    # Ray would run workers at niceness 15, behind everything else on the machine.
    os.environ.setdefault("RAY_worker_niceness", "0")  # Ray's own spelling
    ray.init(
        address="local",
        include_dashboard=False,
        object_store_memory=_OBJECT_STORE_BYTES,
        logging_level=logging.ERROR,
    )
    return True


def disconnect() -> None:
    """Leave the cluster; one that was started here ends with it."""
    import ray

    ray.shutdown()


def live_nodes() -> Sequence[NodeSize]:
    """The nodes that are alive now, with what they offer in all."""
    import ray

    return [_size(node) for node in ray.nodes() if node["Alive"]]


def _size(node: dict[str, Any]) -> NodeSize:
    resources = node["Resources"]
    return NodeSize(node["NodeID"], resources.get("CPU", 0.0), resources.get("GPU", 0.0))


def cause_of(error: BaseException) -> BaseException:
    """What a task or an actor's method raised, without Ray's wrapping."""
    from ray.exceptions import RayTaskError

    return error.cause if isinstance(error, RayTaskError) else error
