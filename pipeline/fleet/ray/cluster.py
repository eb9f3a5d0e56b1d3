"""The connection to Ray: to the cluster that was named, or to one started here for this run.

`engine.py` calls it. Starting the workers is not its business.
"""

import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from pipeline.errors import UsageError, WorkerError
from pipeline.fleet.worker_count import NodeSize

logger = logging.getLogger(__name__)
# Little is enough, because no waveform or code goes through the object store. Ray refuses less
# than 75 MiB.
_OBJECT_STORE_BYTES = 128 << 20


def connect(address: str | None) -> bool:
    """Connect to `address` or `RAY_ADDRESS`, or start Ray; false if already connected before."""
    import ray

    wanted = address or os.environ.get("RAY_ADDRESS")
    if ray.is_initialized():
        return False
    if os.environ.get("NO_COLOR") or not sys.stderr.isatty():
        # Ray paints the lines of its workers also in files.
        os.environ.setdefault("RAY_COLOR_PREFIX", "0")
    if wanted:
        logger.info("Connecting to the Ray cluster at `%s`", wanted)
        try:
            with _same_sigterm():
                ray.init(address=wanted, logging_level=logging.ERROR)
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise UsageError(
                f"No Ray cluster answers at `{wanted}` ({error}); expected the address of a "
                "running one; check `--cluster` and `RAY_ADDRESS`, or leave out both to start one"
            ) from error
        return True
    logger.info("Starting Ray on this machine")
    # Ray reports that a token guards the cluster. That is always so, and would only worry the user.
    logging.getLogger("ray._private.authentication.authentication_token_setup").setLevel("ERROR")
    # Ray's default niceness of 15 would give every other process of the machine precedence.
    os.environ.setdefault("RAY_worker_niceness", "0")  # Ray's own spelling
    try:
        with _same_sigterm():
            ray.init(
                address="local",
                include_dashboard=False,
                object_store_memory=_OBJECT_STORE_BYTES,
                logging_level=logging.ERROR,
            )
    except Exception as error:  # Ray has no class of its own for this
        raise WorkerError(
            f"Ray did not start on this machine ({error}); expected it to; run the same command "
            "again when the machine is less busy, or pass `--engine inline`"
        ) from error
    return True


def is_named(address: str | None) -> bool:
    """Whether the run is on a cluster that somebody else started, to which nodes may come."""
    return bool(address or os.environ.get("RAY_ADDRESS"))


@contextmanager
def _same_sigterm() -> Iterator[None]:
    # Ray's own handler ends the process with exit code 15.
    before = signal.getsignal(signal.SIGTERM)
    yield
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, before)


def disconnect() -> None:
    """Leave the cluster; one that was started here ends with it."""
    import ray

    ray.shutdown()


def results_as_ready(start: Callable[[Any], list[Any]]) -> Iterator[Any]:
    """What tasks give, as they end; `start` gets Ray and starts them.

    They run on the cluster of `RAY_ADDRESS`, or on one that is started here and ends with them.
    """
    import ray

    is_ours = connect(None)
    waiting: list[Any] = []
    try:
        waiting = start(ray)
        while waiting:
            done, waiting = ray.wait(waiting, num_returns=1)
            yield ray.get(done[0])
    finally:
        for reference in waiting:
            ray.cancel(reference)
        if is_ours:
            disconnect()


def live_nodes() -> Sequence[NodeSize]:
    """The nodes that are alive now, with all their CPUs, GPUs and memory, free or not."""
    import ray

    draining = _draining()
    return [_size(node, draining) for node in ray.nodes() if node["Alive"]]


def _draining() -> Collection[str]:
    from ray._private.state import state  # Ray tells of draining nodes nowhere else

    return set(state.get_draining_nodes())


def _size(node: dict[str, Any], draining: Collection[str]) -> NodeSize:
    resources = node["Resources"]
    return NodeSize(
        node["NodeID"],
        cpus=resources.get("CPU", 0.0),
        gpus=resources.get("GPU", 0.0),
        memory_bytes=resources.get("memory", 0.0),
        is_draining=node["NodeID"] in draining,
    )
