"""What `xytok submit` sends to a cluster: this code, and the command line of `xytok tokenize`.

The code of this installation is the working directory of the job. `job_server.py` speaks to Ray.
"""

import logging
import os
import re
import shlex
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from pipeline.errors import UsageError
from pipeline.fleet.ray.job_server import JobServer, stop_variable

logger = logging.getLogger(__name__)
# `xytok.py` is a file in a checkout, and the package `xytok` where it is installed.
_CODE = ("xy_codec", "pipeline", "jobs", "xytok", "xytok.py")
_IGNORED = shutil.ignore_patterns("__pycache__", "*.pyc")
_SECRET = re.compile(r"(SECRET|TOKEN|PASSWORD|ACCESS_KEY)", re.IGNORECASE)
# The job must use the cluster's own Ray: another version could not connect to it.
_NOT_INSTALLED = ("ray",)


@dataclass(frozen=True, slots=True)
class Submission:
    """The arguments of `xytok tokenize`, and what is sent to the cluster with the code."""

    arguments: tuple[str, ...]
    install: bool
    environment: tuple[str, ...]
    drain_seconds: float
    wait: bool


def submit(cluster: str | None, submission: Submission, write: Callable[[str], None]) -> int:
    """Submit the job, print its log, and return the exit code of the command on the cluster."""
    _check_environment(submission)
    logger.info("Connecting to the Ray job server, then sending it this code")
    server = JobServer(cluster)
    with tempfile.TemporaryDirectory(prefix="xytok-submit-") as folder:
        pack_code(Path(folder))
        entrypoint = f"python -m jobs tokenize {shlex.join(submission.arguments)}"
        job = server.submit(entrypoint, _runtime_env(Path(folder), submission))
    write(f"job {job}\n")
    return server.follow(job, write) if submission.wait else 0


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
    variables = {name: os.environ[name] for name in submission.environment}
    env: dict[str, Any] = {
        "working_dir": str(folder),
        "env_vars": stop_variable(submission.drain_seconds) | variables,
    }
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
