"""Submits `xytok tokenize` to a cluster by Ray's job API and prints its log as it grows.

`xytok submit` calls it. The code of this installation is sent as the working directory of the job.
"""

import asyncio
import logging
import os
import re
import shlex
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from pipeline.errors import UsageError, WorkerError

logger = logging.getLogger(__name__)
# `xytok.py` is a file in a checkout, and the package `xytok` where it is installed.
_CODE = ("xy_codec", "pipeline", "jobs", "xytok", "xytok.py")
_IGNORED = shutil.ignore_patterns("__pycache__", "*.pyc")
_SECRET = re.compile(r"(SECRET|TOKEN|PASSWORD|ACCESS_KEY)", re.IGNORECASE)
_POLL_SECONDS = 0.5
_AGENT_SECONDS = 120.0
# The job must use the cluster's own Ray: another version could not connect to it.
_NOT_INSTALLED = ("ray",)
# Ray's client prefers these variables, in this order, to the address that it is given.
_ADDRESS_VARIABLES = ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS")


@dataclass(frozen=True, slots=True)
class Submission:
    """The arguments of `xytok tokenize`, and what is sent to the cluster with the code."""

    arguments: tuple[str, ...]
    install: bool
    environment: tuple[str, ...]
    wait: bool


def submit(cluster: str | None, submission: Submission, write: Callable[[str], None]) -> int:
    """Submit the job, print its log, and return the exit code of the command on the cluster."""
    _check_environment(submission)
    address, source = find_address(cluster)
    logger.info("Connecting to the Ray job server, then sending it this code")
    client = _client(address, source)
    with _answers(address, source), tempfile.TemporaryDirectory(prefix="xytok-submit-") as folder:
        pack_code(Path(folder))
        job = _submit(client, Path(folder), submission)
    write(f"job {job}\n")
    if not submission.wait:
        return 0
    with _answers(address, source):
        asyncio.run(_follow(client, job, write))
        return _exit_code(client, job)


def find_address(cluster: str | None) -> tuple[str, str]:
    """The address that Ray's client will use, and the flag or variable that it comes from."""
    for name in _ADDRESS_VARIABLES:
        if os.environ.get(name):
            return os.environ[name], name
    if cluster:
        return cluster, "--cluster"
    raise UsageError(
        "`--cluster` is missing; expected the URL of the job server, e.g. `http://head:8265`; "
        f"pass it, or set {_ADDRESS_VARIABLES[0]}"
    )


def _submit(client: Any, folder: Path, submission: Submission) -> str:
    deadline = time.monotonic() + _AGENT_SECONDS
    while True:
        try:
            return str(
                client.submit_job(
                    entrypoint=f"python -m jobs tokenize {shlex.join(submission.arguments)}",
                    runtime_env=_runtime_env(folder, submission),
                )
            )
        except RuntimeError as error:
            # Just after a cluster's start its job server answers, but has no agents yet.
            if "No available agent" not in str(error) or time.monotonic() > deadline:
                raise WorkerError(
                    f"The job server refused the job ({error}); expected it to be accepted; look "
                    "at the cluster's dashboard"
                ) from error
            time.sleep(_POLL_SECONDS)


def pack_code(folder: Path) -> None:
    """Copy the code of this installation into a folder."""
    root = Path(__file__).resolve().parents[3]
    for path in (root / name for name in _CODE):
        if path.is_dir():
            shutil.copytree(path, folder / path.name, ignore=_IGNORED)
        elif path.exists():
            shutil.copy(path, folder)
    # The code asks its metadata for its version.
    about = folder / f"xytok-{metadata.version('xytok')}.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(metadata.distribution("xytok").read_text("METADATA") or "")


def dependencies() -> list[str]:
    """The requirements of this version, without extras and without Ray."""
    wanted = metadata.requires("xytok") or []
    names = ((re.split(r"[\s\[<>=!~;]", line, maxsplit=1)[0], line) for line in wanted)
    return [line for name, line in names if "extra ==" not in line and name not in _NOT_INSTALLED]


def _runtime_env(folder: Path, submission: Submission) -> dict[str, Any]:
    env: dict[str, Any] = {"working_dir": str(folder)}
    variables = {name: os.environ[name] for name in submission.environment}
    if variables:
        env["env_vars"] = variables
    if submission.install:
        env["pip"] = dependencies()
    return env


def _check_environment(submission: Submission) -> None:
    secrets = [name for name in submission.environment if _SECRET.search(name)]
    if secrets:
        raise UsageError(
            f"`--env {secrets[0]}` would show its value in Ray's dashboard and job API; expected a "
            "variable that is no secret; give the cluster's nodes a role or a profile, or pass "
            "`--storage-options @FILE` with a file that lies on the cluster"
        )
    missing = [name for name in submission.environment if name not in os.environ]
    if missing:
        raise UsageError(
            f"`--env {missing[0]}` is not set here; expected a variable with a value; set it, or "
            "drop the option"
        )


def _client(address: str, source: str) -> Any:
    from ray.exceptions import RayError
    from ray.job_submission import JobSubmissionClient

    try:
        return JobSubmissionClient(address)
    # A server that is no job server answers with anything, or not at all.
    except (OSError, ValueError, LookupError, TypeError, RuntimeError, RayError) as error:
        raise UsageError(
            f"No Ray job server answers at `{address}`, from `{source}` "
            f"({type(error).__name__}); expected the dashboard's address, e.g. "
            f"`http://head:8265`; check `{source}`"
        ) from error


@contextmanager
def _answers(address: str, source: str) -> Iterator[None]:
    """Say which server failed where Ray's client only says that a request did."""
    from aiohttp import ClientError
    from ray.exceptions import RayError
    from requests import RequestException

    try:
        yield
    except (ClientError, RayError, RequestException, RuntimeError) as error:
        raise WorkerError(
            f"The Ray job server at `{address}`, from `{source}`, failed a request "
            f"({type(error).__name__}: {error}); expected an answer; look at the cluster's "
            "dashboard, the job may still run there"
        ) from error


async def _follow(client: Any, job: str, write: Callable[[str], None]) -> None:
    async for lines in client.tail_job_logs(job):
        write(lines)


def _exit_code(client: Any, job: str) -> int:
    while not client.get_job_status(job).is_terminal():
        time.sleep(_POLL_SECONDS)
    details = client.get_job_info(job)
    if details.driver_exit_code is not None:
        return int(details.driver_exit_code)
    return 0 if str(details.status).endswith("SUCCEEDED") else 1
