"""Doing a storage operation again when it fails for a reason that may pass, and not otherwise."""

import errno
import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from pipeline.errors import InputError, OutputError, PipelineError, StorageError

logger = logging.getLogger(__name__)
T = TypeVar("T")
_failed_tries = 0  # of this process

# Errors that a second attempt meets again.
_LASTING = (
    FileNotFoundError,
    PermissionError,
    IsADirectoryError,
    NotADirectoryError,
    FileExistsError,
    NotImplementedError,
    ValueError,
    TypeError,
    ImportError,
)
_LASTING_ERRNOS = {
    errno.ENOSPC: "there is no space left",
    errno.EDQUOT: "the quota is used up",
    errno.EROFS: "it is read-only",
    errno.EACCES: "permission is denied",
    errno.EPERM: "permission is denied",
    errno.ENAMETOOLONG: "the name is too long",
}


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often, and with which pauses, an operation is tried."""

    attempts: int = 6
    first_pause_seconds: float = 0.5
    longest_pause_seconds: float = 30.0

    def pause_before(self, attempt: int) -> float:
        """Seconds to wait before attempt 2, 3, …; jittered so that workers spread out."""
        pause = self.first_pause_seconds * 2.0 ** (attempt - 2)
        return min(self.longest_pause_seconds, pause) * random.uniform(0.5, 1.0)


def num_failed_tries() -> int:
    """A count that grows while storage is tried in vain: a worker that retries does not hang."""
    return _failed_tries


def with_retries(action: Callable[[], T], what: str, policy: RetryPolicy) -> T:
    """Return `action()`; `what` says in messages what was being done, e.g. "reading `s3://b/k`"."""
    global _failed_tries
    for attempt in range(1, policy.attempts + 1):
        try:
            return action()
        except PipelineError:
            raise
        except Exception as error:
            _failed_tries += 1
            if is_lasting(error):
                raise lasting_error(error, what) from error
            if attempt == policy.attempts:
                raise StorageError(
                    f"{what} failed {attempt} times, at last with {describe(error)}; expected "
                    "storage that answers in time; check the endpoint, the network and the "
                    "credentials, then run the same command again: it resumes"
                ) from error
            pause = policy.pause_before(attempt + 1)
            logger.warning("%s failed (%s), next try in %.1f s", what, describe(error), pause)
            time.sleep(pause)
    raise AssertionError("unreachable")


def is_lasting(error: Exception) -> bool:
    """Whether another attempt would fail the same way."""
    if isinstance(error, TimeoutError | ConnectionError):
        return False
    return isinstance(error, _LASTING) or getattr(error, "errno", None) in _LASTING_ERRNOS


def lasting_error(error: Exception, what: str) -> PipelineError:
    """The user's error for a storage error that will not pass."""
    number = getattr(error, "errno", None)
    kind = OutputError if what.startswith(("writing", "creating", "deleting")) else InputError
    if number in _LASTING_ERRNOS:
        reason = _LASTING_ERRNOS[number]
        return kind(f"{what} failed: {reason}; make room or permit it, then run the command again")
    if isinstance(error, PermissionError):
        return kind(
            f"{what} was refused ({describe(error)}); expected credentials that allow it; renew "
            "them or name others through the environment or `--storage-options @FILE`"
        )
    if isinstance(error, ImportError):
        return kind(f"{what} needs a package that is not installed ({describe(error)}); install it")
    return kind(f"{what} failed ({describe(error)}); check the path and its protocol")


def describe(error: BaseException) -> str:
    """One short line for an error, whatever its message looks like."""
    text = " ".join(str(error).split())[:300]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
