"""The one layer of retries: which errors are tried again, how often, and what the others mean.

`client.py` sees to it that no client below retries as well, which would multiply the tries. The
loop is our own and not `tenacity`, because reading codes back needs pyarrow and fsspec alone.
"""

import errno
import logging
import random
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from pipeline.errors import (
    InputError,
    NotFoundError,
    OutputError,
    PipelineError,
    RefusedError,
    StorageError,
    UnreachedError,
)

logger = logging.getLogger(__name__)
T = TypeVar("T")
_failed_tries = 0  # of this process
_reached: set[str] = set()  # the servers that this process has reached
_told: set[str] = set()  # those of which it was told that they are slow
# Shorter trouble is logged at level INFO.
_WARN_AFTER_SECONDS = 3.0
# A server that never answered before is waited for in silence so long.
_TELL_AFTER_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """The budget of one operation: no further try begins once either limit is reached.

    By default an outage of about two minutes is survived, longer where tries end by a time limit.
    A server that was never reached is no outage: most likely its address is wrong.
    """

    attempts: int = 12
    first_pause_seconds: float = 0.5
    longest_pause_seconds: float = 30.0
    budget_seconds: float = 900.0
    first_contact_seconds: float = 5.0

    def pause_before(self, attempt: int) -> float:
        """Seconds to wait before attempt 2, 3, …; jittered so that workers spread out."""
        pause = self.first_pause_seconds * 2.0 ** (attempt - 2)
        return min(self.longest_pause_seconds, pause) * random.uniform(0.5, 1.0)


@dataclass(frozen=True, slots=True)
class _Signs:
    """How clients report one kind of fault: by any of these, in the error or in its cause."""

    types: frozenset[str] = frozenset()  # names of classes, because no client is imported here
    errnos: frozenset[int] = frozenset()
    statuses: frozenset[int] = frozenset()  # of HTTP
    codes: frozenset[str] = frozenset()  # of S3
    texts: tuple[str, ...] = ()  # how the message begins

    def fit(self, error: BaseException) -> bool:
        """Whether the error or one of its causes shows a sign."""
        return any(
            not self.types.isdisjoint(cls.__name__ for cls in type(each).__mro__)
            or getattr(each, "errno", None) in self.errnos
            or _status(each) in self.statuses
            or _s3_answer(each).get("Error", {}).get("Code") in self.codes
            or (self.texts and str(each).startswith(self.texts))
            for each in _chain(error)
        )


# Tried again, even where a client calls it by a name of the table below: the web client of fsspec
# says `FileNotFoundError` for every failure, and the number 1 of an `SSLError` is that of EPERM. An
# error in neither table is tried again as well.
_PASSING = _Signs(
    types=frozenset({"TimeoutError", "ConnectionError", "ClientConnectionError", "SSLError"}),
    statuses=frozenset({408, 425, 429, 500, 502, 503, 504}),
)
# Nothing listens there, or there is no such name; or the credentials that are configured cannot be
# had. At the first contact this will not pass; once a server has answered, it is an outage.
_UNREACHABLE = _Signs(
    types=frozenset(
        {"ConnectionRefusedError", "EndpointConnectionError", "CredentialRetrievalError"}
    ),
    errnos=frozenset({errno.ECONNREFUSED, socket.EAI_NONAME, socket.EAI_NODATA}),
)
# Final, because the next try would meet it again: what a reader is told with, what happened, and
# what to do.
_FINAL: tuple[tuple[type[InputError | RefusedError], str, str, _Signs], ...] = (
    (
        NotFoundError,
        "met a file where a folder has to be",
        "expected a folder; name another path",
        _Signs(types=frozenset({"NotADirectoryError"})),
    ),
    (
        NotFoundError,
        "found nothing there",
        "expected an existing file and bucket; check the path and its protocol",
        _Signs(
            types=frozenset({"FileNotFoundError", "ResourceNotFoundError"}),
            statuses=frozenset({404, 410}),
            codes=frozenset({"NoSuchBucket", "NoSuchKey"}),
        ),
    ),
    (
        RefusedError,
        "was refused",
        "expected credentials or permissions that allow it; renew them or name others through the "
        "environment or `--storage-options @FILE`",
        _Signs(
            types=frozenset(
                {
                    *("PermissionError", "ClientAuthenticationError", "DefaultCredentialsError"),
                    *("NoCredentialsError", "PartialCredentialsError", "ProfileNotFound"),
                    *("TokenRetrievalError", "SSOError", "InvalidConfigError"),
                }
            ),
            errnos=frozenset({errno.EACCES, errno.EPERM}),
            statuses=frozenset({401, 403}),
            codes=frozenset(
                {"ExpiredToken", "InvalidToken", "TokenRefreshRequired", "InvalidAccessKeyId"}
            ),
            texts=("Forbidden: ",),  # gcsfs
        ),
    ),
    (
        InputError,
        "failed, because there is no space left",
        "expected room for all; make some or raise the quota, then run the command again",
        _Signs(errnos=frozenset({errno.ENOSPC, errno.EDQUOT}), statuses=frozenset({507})),
    ),
    (
        InputError,
        "failed, because the place is read-only",
        "expected one that can be written; make it so or name another, then run the command again",
        _Signs(errnos=frozenset({errno.EROFS})),
    ),
    (
        InputError,
        "is not possible",
        "expected a path that this storage knows; check it, its protocol and `--storage-options`",
        _Signs(
            types=frozenset(
                {
                    *("IsADirectoryError", "FileExistsError"),
                    *("NotImplementedError", "ValueError", "TypeError", "ImportError"),
                    *("ParamValidationError", "NoRegionError"),
                }
            ),
            errnos=frozenset({errno.ENAMETOOLONG, errno.ENOSYS}),
            statuses=frozenset({405, 501}),
            codes=frozenset(
                {"InvalidBucketName", "AuthorizationHeaderMalformed", "PermanentRedirect"}
            ),
        ),
    ),
)


def num_failed_tries() -> int:
    """A count that grows while storage is tried in vain: a worker that retries does not hang."""
    return _failed_tries


def with_retries(
    action: Callable[[], T], what: str, policy: RetryPolicy, server: str | None = None
) -> T:
    """Return `action()`; `what` says in messages what was being done, e.g. "reading `s3://b/k`".

    `server` names whom it asks, so that a first contact is known.
    """
    global _failed_tries
    started, attempt = time.monotonic(), 0
    while True:
        attempt += 1
        try:
            with _told_when_slow(server, what):
                result = action()
        except PipelineError:
            raise
        except Exception as error:
            _failed_tries += 1
            is_unreachable = _UNREACHABLE.fit(error)
            if server and not is_unreachable:
                _reached.add(server)
            _raise_if_final(error, what)
            seconds = time.monotonic() - started
            pause = max(policy.pause_before(attempt + 1), _pause_asked_for(error))
            is_first_contact = server and server not in _reached and is_unreachable
            if is_first_contact and seconds + pause > policy.first_contact_seconds:
                raise _unreached(error, what) from error
            if attempt >= policy.attempts or seconds + pause > policy.budget_seconds:
                raise StorageError(
                    f"{what} failed {attempt} times in {seconds:.0f} s, at last with "
                    f"{describe(error)}; expected storage that answers in time; check the "
                    "endpoint, the network and the credentials, then run the same command again: "
                    "it resumes"
                ) from error
            level = logging.WARNING if seconds + pause > _WARN_AFTER_SECONDS else logging.INFO
            said = "%s failed (%s), try %d of at most %d follows in %.1f s"
            logger.log(level, said, what, describe(error), attempt + 1, policy.attempts, pause)
            time.sleep(pause)
        else:
            if server:
                _reached.add(server)
            return result


@contextmanager
def _told_when_slow(server: str | None, what: str) -> Iterator[None]:
    """Say once a server, where nothing came from it yet, that its first answer takes long."""
    if server is None or server in _reached:
        yield
        return
    timer = threading.Timer(_TELL_AFTER_SECONDS, _tell_slow, (server, what))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _tell_slow(server: str, what: str) -> None:
    if server not in _told:
        _told.add(server)
        logger.info(
            "%s still waits for a first answer after %g s: for credentials, which may be asked "
            "for in several places, or for the network",
            *(what, _TELL_AFTER_SECONDS),
        )


def call_within(action: Callable[[], T], seconds: float) -> T:
    """Return `action()`, or raise `TimeoutError` when it takes longer; a stalled call is left."""
    outcome: Future[T] = Future()

    def call() -> None:
        try:
            outcome.set_result(action())
        except BaseException as error:
            outcome.set_exception(error)

    # A daemon, so that a call that never returns cannot hold up the end of the process.
    threading.Thread(target=call, daemon=True, name="xytok-storage").start()
    try:
        return outcome.result(timeout=seconds)
    except FutureTimeoutError as error:
        if outcome.done():
            raise
        raise TimeoutError(f"no answer for {seconds:g} s") from error


def describe(error: BaseException) -> str:
    """One short line for an error, without the credentials and signatures of URLs in it."""
    text = re.sub(r"://[^/@\s]*@", "://", " ".join(str(error).split()))
    text = re.sub(r"(://[^\s?'\"]*)\?[^\s'\"]*", r"\1", text)[:300]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _raise_if_final(error: Exception, what: str) -> None:
    if _PASSING.fit(error):
        return
    is_write = what.startswith(("writing", "creating", "deleting"))
    for kind, happened, remedy, signs in _FINAL:
        if signs.fit(error):
            told = OutputError if is_write and issubclass(kind, InputError) else kind
            raise told(f"{what} {happened} ({describe(error)}); {remedy}") from error


def _unreached(error: Exception, what: str) -> UnreachedError:
    # fsspec's web client says `FileNotFoundError`, and only its cause names the host.
    cause = next((e for e in _chain(error) if not isinstance(e, FileNotFoundError)), error)
    return UnreachedError(
        f"{what} reached no server ({describe(cause)}); expected one that answers; check the "
        "address or `endpoint_url`, the network, and where the credentials come from"
    )


def _pause_asked_for(error: BaseException) -> float:
    """What `Retry-After` says, 0 where nothing does; a date in place of seconds is ignored."""
    for each in _chain(error):
        places: tuple[Any, ...] = (
            _s3_answer(each).get("ResponseMetadata", {}).get("HTTPHeaders"),
            getattr(each, "headers", None),  # aiohttp
            getattr(getattr(each, "response", None), "headers", None),  # Hugging Face, Azure
        )
        asked = next((str(p["retry-after"]) for p in places if p and "retry-after" in p), "")
        if asked.isdecimal():
            return float(asked)
    return 0.0


def _status(error: BaseException) -> int:
    told = (
        _s3_answer(error).get("ResponseMetadata", {}).get("HTTPStatusCode"),
        getattr(getattr(error, "response", None), "status_code", None),  # Hugging Face
        getattr(error, "status", None),  # aiohttp
        getattr(error, "status_code", None),  # Azure
        vars(error).get("code"),  # gcsfs
    )
    return next((number for number in told if number and isinstance(number, int)), 0)


def _s3_answer(error: BaseException) -> Mapping[str, Any]:
    response = getattr(error, "response", None)
    return response if isinstance(response, Mapping) else {}


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__
