"""The job server of a Ray cluster: jobs are submitted to it, followed and stopped.

`submission.py` and the verbs `logs` and `stop` use it. It turns what Ray's client raises into
errors that name the server.
"""

import asyncio
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from pipeline.errors import DrainedError, UsageError, WorkerError

_POLL_SECONDS = 0.5
_AGENT_SECONDS = 120.0
# Ray's client prefers these variables, in this order, to the address that it is given.
_ADDRESS_VARIABLES = ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS")


def find_address(cluster: str | None) -> tuple[str, str]:
    """The address of the job server, and the flag or variable that it comes from."""
    if cluster:
        return cluster, "--cluster"
    for name in _ADDRESS_VARIABLES:
        if os.environ.get(name):
            return os.environ[name], name
    raise UsageError(
        "`--cluster` is missing; expected the URL of the job server, e.g. `http://head:8265`; "
        f"pass it, or set {_ADDRESS_VARIABLES[0]}"
    )


class JobServer:
    """A connection to a job server."""

    def __init__(self, cluster: str | None) -> None:
        self.address, self._source = find_address(cluster)
        self._client = _connect(self.address, self._source)

    def submit(self, entrypoint: str, runtime_env: Mapping[str, Any]) -> str:
        """Send a job and return its id."""
        deadline = time.monotonic() + _AGENT_SECONDS
        with self._answers():
            while True:
                try:
                    return str(
                        self._client.submit_job(entrypoint=entrypoint, runtime_env=runtime_env)
                    )
                except RuntimeError as error:
                    # Just after a cluster's start its job server answers, but has no agents yet.
                    if "No available agent" not in str(error) or time.monotonic() > deadline:
                        raise WorkerError(
                            f"The job server refused the job ({error}); expected it to be "
                            "accepted; look at the cluster's dashboard"
                        ) from error
                    time.sleep(_POLL_SECONDS)

    def follow(self, job: str, write: Callable[[str], None]) -> int:
        """Write the log of a job as it grows; return its exit code when it is over.

        Ctrl-C ends the following and not the job.
        """
        self._check(job)
        try:
            with self._answers():
                asyncio.run(self._write_log(job, write))
                self._wait(job)
        except KeyboardInterrupt:
            place = f"{job} --cluster {self.address}"
            raise KeyboardInterrupt(
                f"job `{job}` goes on; follow it with `xytok logs {place}`, or stop it with "
                f"`xytok stop {place}`"
            ) from None
        return self._exit_code(job)

    def log(self, job: str) -> str:
        """What a job logged so far."""
        self._check(job)
        with self._answers():
            return str(self._client.get_job_logs(job))

    def stop(self, job: str) -> bool:
        """Ask a job to end and wait until it is over; false when it was over already.

        Ray sends SIGTERM, on which the driver drains, and SIGKILL when `stop_variable` is over.
        """
        self._check(job)
        with self._answers():
            was_running = bool(self._client.stop_job(job))
            self._wait(job)
        return was_running

    def _check(self, job: str) -> None:
        with self._answers():
            try:
                self._client.get_job_info(job)
            except RuntimeError as error:
                if "404" not in str(error):
                    raise
                raise UsageError(
                    f"The job server at `{self.address}`, from `{self._source}`, knows no job "
                    f"`{job}`; expected the id that `xytok submit` printed; `xytok status OUTPUT` "
                    "tells it again"
                ) from error

    def _wait(self, job: str) -> None:
        while not self._client.get_job_status(job).is_terminal():
            time.sleep(_POLL_SECONDS)

    async def _write_log(self, job: str, write: Callable[[str], None]) -> None:
        async for lines in self._client.tail_job_logs(job):
            write(lines)

    def _exit_code(self, job: str) -> int:
        with self._answers():
            details = self._client.get_job_info(job)
        if str(details.status).endswith("STOPPED"):
            # Ray keeps no exit code then.
            raise DrainedError(
                f"Job `{job}` was stopped; expected it to run to its end; the same command resumes"
            )
        if details.driver_exit_code is not None:
            return int(details.driver_exit_code)
        return 0 if str(details.status).endswith("SUCCEEDED") else 1

    @contextmanager
    def _answers(self) -> Iterator[None]:
        """Say which server failed where Ray's client only says that a request did."""
        from aiohttp import ClientError
        from ray.exceptions import RayError
        from requests import RequestException

        try:
            yield
        except (ClientError, RayError, RequestException, RuntimeError) as error:
            raise WorkerError(
                f"The Ray job server at `{self.address}`, from `{self._source}`, failed a request "
                f"({type(error).__name__}: {error}); expected an answer; look at the cluster's "
                "dashboard, the job may still run there"
            ) from error


def stop_variable(drain_seconds: float) -> dict[str, str]:
    """The variable of a job that tells Ray to wait for its drain before SIGKILL; 3 s without it."""
    # A minute more for the last shard's manifest, the events and the end of the workers.
    return {"RAY_JOB_STOP_WAIT_TIME_S": str(int(drain_seconds) + 60)}


def _connect(address: str, source: str) -> Any:
    from ray.exceptions import RayError
    from ray.job_submission import JobSubmissionClient

    # Ray's client would prefer them to the address.
    variables = {n: os.environ.pop(n) for n in _ADDRESS_VARIABLES if n in os.environ}
    try:
        return JobSubmissionClient(address)
    # A server that is no job server answers with anything, or not at all.
    except (OSError, ValueError, LookupError, TypeError, RuntimeError, RayError) as error:
        raise UsageError(
            f"No Ray job server answers at `{address}`, from `{source}` "
            f"({type(error).__name__}); expected the dashboard's address, e.g. "
            f"`http://head:8265`; check `{source}`"
        ) from error
    finally:
        os.environ |= variables
