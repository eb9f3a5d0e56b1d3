"""The lease of an output: only the driver that holds it hands out work there.

The lease is the file `lease/<number>.json` with the highest number. A driver takes it by creating
the next number, which works for one driver only. The holder rewrites its file every 15 s. Another
driver takes over when the content did not change for 60 s of its own clock. A holder that could not
renew for 45 s hands out nothing until it created the next number too, and stops when another driver
was first. So two drivers never rely on it at once where the storage's "create if absent" is atomic;
elsewhere the driver whose file was overwritten finds out when it renews.

`Lease` takes one step a call, with the clock and the storage that it is given. `hold_lease`, which
`run.py` uses, waits for it and renews it in a thread.
"""

import json
import logging
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from pipeline.errors import (
    LeaseError,
    NotFoundError,
    PipelineError,
    RefusedError,
    StorageError,
    UnreachedError,
    what_happened,
)
from pipeline.fleet.job_id import current_job
from pipeline.storage.client import Storage
from pipeline.storage.location import join, redact
from pipeline.storage.retries import RetryPolicy, call_within

logger = logging.getLogger(__name__)
LEASE = "lease"
RENEW_SECONDS = 15.0
SURE_SECONDS = 45.0
STALE_SECONDS = 60.0
_POLL_SECONDS = 1.0
# How long the end of a run waits for storage that does not answer.
_RELEASE_SECONDS = 10.0

# Whether work may be handed out now; raises when another driver took over.
MayGoOn = Callable[[], bool]


def always() -> bool:
    """For runs without a lease."""
    return True


@dataclass(frozen=True, slots=True)
class Holder:
    """The process that holds a lease, as its file names it.

    `machine` is the same where this process could see that one end.
    """

    host: str
    machine: str
    pid: int
    process_start: str
    since: str
    job: str | None
    nonce: str

    @classmethod
    def here(cls) -> "Holder":
        """This process."""
        return cls(
            host=socket.gethostname(),
            machine=_machine(),
            pid=os.getpid(),
            process_start=_process_start(os.getpid()),
            since=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            job=current_job(),
            nonce=uuid.uuid4().hex,
        )

    def is_dead(self) -> bool:
        """Whether it was a process of this machine that has ended."""
        is_here = bool(self.machine) and self.machine == _machine()
        return is_here and self.process_start != _process_start(self.pid)

    def __str__(self) -> str:
        job = f" (job `{self.job}`)" if self.job else ""
        return f"process {self.pid} on `{self.host}`, started {self.since}{job}"


@dataclass(frozen=True, slots=True)
class _Seen:
    number: int
    content: bytes
    at: float


@dataclass(frozen=True, slots=True)
class LeaseFile:
    """The file of a lease; while the newest is the same and given back, no other driver works."""

    number: int
    content: bytes

    @property
    def is_released(self) -> bool:
        """Whether its holder gave it back; workers of one that died may still write."""
        return bool(_fields(self.content).get("is_released"))


class Lease:
    """One driver's view of the lease of an output."""

    def __init__(
        self,
        storage: Storage,
        output: str,
        clock: Callable[[], float],
        holder: Holder,
        folder: str = LEASE,
    ) -> None:
        self._storage = storage
        self._output = output
        self._folder = join(output, folder)
        self._clock = clock
        self._holder = holder
        self._number = 0
        self._num_written = 0
        self._sure_until = float("-inf")
        self._seen: _Seen | None = None
        self._loss: LeaseError | None = None
        self.rival: Holder | None = None
        self.is_rival_alive = False
        # Whether it was taken from a driver that may still be at work, out of reach.
        self.is_from_silent = False
        # What the lease before this one was, if there was one.
        self.followed: LeaseFile | None = None

    @property
    def is_lost(self) -> bool:
        """Whether another driver took over."""
        return self._loss is not None

    def may_go_on(self) -> bool:
        """Whether work may be handed out now; raises when another driver took over.

        False while nobody knows, because storage could not be reached: ask again later.
        """
        if self._loss is not None:
            raise self._loss
        return self._clock() < self._sure_until

    def try_take(self) -> bool:
        """Take the lease if it is free.

        If not, `rival` has it, and `is_rival_alive` says whether it was seen to renew.
        """
        number = self._highest_number()
        self.followed = None
        return (number == 0 or self._is_free(number)) and self._create(number + 1)

    def renew(self) -> None:
        """Show that this driver lives; raises when another one took over."""
        began = self._clock()
        self._look()
        if self.may_go_on():
            self._storage.write_finished(self._url(self._number), self._content())
            if self.may_go_on():
                self._sure_until = began + SURE_SECONDS
                return
        # Another driver may have taken over since it was looked; only a new number proves it not.
        if not self._create(self._number + 1):
            self._look()

    def release(self) -> None:
        """Let the next driver take the lease at once; does nothing when it is not held."""
        if not self._number:
            # A signal may have come between the creation of the file and its answer.
            number = self._highest_number()
            is_ours = _fields(self._read(number)).get("nonce") == self._holder.nonce
            self._number = number if is_ours else 0
        if self._number and not self.is_lost:
            self._sure_until = float("-inf")
            # The file stays, so that no number is used twice.
            self._storage.write_finished(self._url(self._number), self._content(is_released=True))
            self._number = 0

    def _look(self) -> None:
        """Raise unless the highest number is ours, maybe by a write that seemed to fail."""
        number = self._highest_number()
        content = self._read(number)
        if _fields(content).get("nonce") == self._holder.nonce:
            self._number = number
            return
        self._loss = LeaseError(
            f"`{redact(self._output)}` was taken over by {_holder_in(content) or 'another run'}, "
            "because this run did not renew its lease in time; expected to be the only run in its "
            "output; this run stops and the other one goes on"
        )
        raise self._loss

    def _is_free(self, number: int) -> bool:
        asked = self._clock()
        content = self._read(number)
        if content is None:
            return False  # a higher number was just created
        self.followed = LeaseFile(number, content)
        rival = self.rival = _holder_in(content)
        if _fields(content).get("is_released") or (
            rival and (rival.is_dead() or rival.nonce == self._holder.nonce)
        ):
            return True
        seen = self._seen
        if seen and (seen.number, seen.content) == (number, content):
            self.is_from_silent = asked - seen.at >= STALE_SECONDS
            return self.is_from_silent
        self.is_rival_alive = seen is not None
        self._seen = _Seen(number, content, self._clock())
        return False

    def _create(self, number: int) -> bool:
        began = self._clock()
        if not self._storage.create_exclusive(self._url(number), self._content()):
            return False
        self._number, self._sure_until = number, began + SURE_SECONDS
        try:
            for old in self._numbers():
                if old < number:
                    self._storage.delete(self._url(old))
        except PipelineError as error:
            logger.info(
                "Old lease files of `%s` stay (%s)", redact(self._output), what_happened(error)
            )
        return True

    def _content(self, *, is_released: bool = False) -> bytes:
        self._num_written += 1
        more = {"num_written": self._num_written, "is_released": is_released}
        return json.dumps(asdict(self._holder) | more, indent=1).encode()

    def _read(self, number: int) -> bytes | None:
        try:
            return self._storage.read_bytes(self._url(number)) if number else None
        except NotFoundError:
            return None

    def _highest_number(self) -> int:
        return max(self._numbers(), default=0)

    def _numbers(self) -> list[int]:
        return _numbers(self._storage, self._folder)

    def _url(self, number: int) -> str:
        return _url(self._folder, number)


def newest_lease(storage: Storage, output: str) -> LeaseFile | None:
    """The newest lease of an output as its file is now; None where no driver ever worked there."""
    folder = join(output, LEASE)
    number = max(_numbers(storage, folder), default=0)
    try:
        return LeaseFile(number, storage.read_bytes(_url(folder, number))) if number else None
    except NotFoundError:
        return newest_lease(storage, output)  # a higher number was just created


def read_holder(storage: Storage, output: str) -> Holder | None:
    """Who holds the lease of an output, as its file says; it may have died a minute ago.

    None when the lease was given back, or when its holder is seen to have ended on this machine.
    """
    newest = newest_lease(storage, output)
    holder = _holder_in(newest.content) if newest else None
    is_over = holder is None or (newest and newest.is_released) or holder.is_dead()
    return None if is_over else holder


def _numbers(storage: Storage, folder: str) -> list[int]:
    names = (file.url.rpartition("/")[2] for file in storage.list_files(folder))
    numbers = (name.removesuffix(".json") for name in names)
    return [int(number) for number in numbers if number.isdecimal()]


def _url(folder: str, number: int) -> str:
    return join(folder, f"{number}.json")


@contextmanager
def hold_lease(
    storage: Storage, output: str, *, wait: bool | None, folder: str = LEASE
) -> Iterator[Lease]:
    """Hold the lease of an output while the block runs.

    Args:
        wait: where another driver holds it, wait; else watch whether that one lives, and raise if
            so. None is the same as False for commands without `--wait-for-output`.
        folder: where below the output the lease is.
    """
    # One request that hangs must not take as long as the lease lasts, nor the pause before a retry.
    policy = RetryPolicy(attempts=2, longest_pause_seconds=1.0)
    quick = replace(storage, timeout_seconds=4.0, policy=policy)
    lease = Lease(quick, output, _seconds_since_boot, Holder.here(), folder)
    is_over = threading.Event()
    thread = threading.Thread(
        target=_keep_renewing, args=(lease, output, is_over), daemon=True, name="xytok-lease"
    )

    def end() -> None:
        if thread.ident is not None:
            thread.join()
        lease.release()

    try:
        _take(lease, output, storage.policy_for(output), wait=wait)
        thread.start()
        yield lease
    finally:
        is_over.set()
        try:
            call_within(end, _RELEASE_SECONDS)
        except (PipelineError, TimeoutError) as error:
            logger.warning(
                "The lease of `%s` could not be released (%s); another run waits %g s for it",
                *(redact(output), what_happened(error), STALE_SECONDS),
            )


def _take(lease: Lease, output: str, policy: RetryPolicy, *, wait: bool | None) -> None:
    is_told = False
    while not _try_to_take(lease, policy):
        rival = lease.rival or "another run"
        if lease.is_rival_alive and not wait:
            remedy = "or stop it" if wait is None else "stop it, or pass `--wait-for-output`"
            raise LeaseError(
                f"`{redact(output)}` is in work by {rival}; expected no other run in an output; "
                f"wait for it, {remedy}"
            )
        if not is_told:
            what = "Waiting until it ends" if wait else "Looking whether it still lives"
            logger.info(
                "`%s` is held by %s. %s, since %s; when it is silent for %g s, this run takes over",
                *(redact(output), rival, what, time.strftime("%H:%M:%S"), STALE_SECONDS),
            )
            is_told = True
        time.sleep(_POLL_SECONDS)


def _try_to_take(lease: Lease, policy: RetryPolicy) -> bool:
    """Try as often as the storage's own policy says: a lease's one is too short for an outage."""
    for attempt in range(2, policy.attempts + 1):
        try:
            return lease.try_take()
        except (RefusedError, UnreachedError):
            raise
        except StorageError:
            time.sleep(policy.pause_before(attempt))
    return lease.try_take()


def _keep_renewing(lease: Lease, output: str, is_over: threading.Event) -> None:
    while not is_over.wait(RENEW_SECONDS):
        try:
            lease.renew()
        except LeaseError as error:
            logger.error("%s", error)
            return
        except Exception as error:
            # An outage is no loss; without this thread the run would wait for ever.
            logger.warning(
                "The lease of `%s` was not renewed (%s); tried again",
                *(redact(output), what_happened(error)),
            )


def _fields(content: bytes | None) -> dict[str, Any]:
    try:
        fields = json.loads(content or b"")
    except ValueError:
        return {}
    return fields if isinstance(fields, dict) else {}


def _holder_in(content: bytes | None) -> Holder | None:
    fields = _fields(content)
    try:
        return Holder(**{name: fields[name] for name in Holder.__dataclass_fields__})
    except KeyError:
        return None


def _seconds_since_boot() -> float:
    # Also counts while the machine is suspended, which `time.monotonic` does not.
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def _machine() -> str:
    """This boot, and whose process ids can be looked up; "" where that is unknown."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        namespace = Path("/proc/self/ns/pid").readlink()
        # Containers of one machine have process ids of their own; other users' may be hidden.
        return f"{socket.gethostname()} {boot} {namespace} {os.getuid()}"
    except OSError:
        return ""


def _process_start(pid: int) -> str:
    """When a process started, in ticks since boot; "" when it has ended."""
    try:
        # The name, in parentheses, may hold spaces.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else fields[19]
