"""Draining: on SIGTERM (a spot notice) no shard is handed out, and those in hand may finish."""

import logging
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from pipeline.errors import DrainedError
from pipeline.plural import plural

logger = logging.getLogger(__name__)
# How long workers may finish what they have in hand; spot machines differ in their notice.
DRAIN_SECONDS = 300.0


class _SigtermError(BaseException):
    """Passes through what catches errors, as `KeyboardInterrupt` does."""


class Drain:
    """Whether the run was asked to stop, and until when its workers may go on."""

    def __init__(self, seconds: float = DRAIN_SECONDS) -> None:
        self._seconds = seconds
        self._deadline: float | None = None
        self.is_asked = False

    @contextmanager
    def on_sigterm(self) -> Iterator[None]:
        """Take SIGTERM as the request, in the main thread; other threads get no signals."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def ask(*_: object) -> None:
            self.is_asked = True

        before = signal.signal(signal.SIGTERM, ask)
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, before)

    def is_over(self, num_in_hand: int) -> bool:
        """Whether the run must end now: nothing is in hand, or the time is up."""
        if self._deadline is None:
            self._deadline = time.monotonic() + self._seconds
            logger.warning(
                "Stopping on SIGTERM: waiting up to %g s for %s in hand",
                *(self._seconds, plural(num_in_hand, "shard")),
            )
        return not num_in_hand or time.monotonic() > self._deadline


@contextmanager
def end_on_sigterm() -> Iterator[None]:
    """Raise where SIGTERM meets the main thread, so that what was begun is undone in order.

    It covers the time before and after `Drain.on_sigterm`: no shard is in hand then.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(*_: object) -> None:
        raise _SigtermError

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    except _SigtermError:
        raise DrainedError(
            "Stopped by SIGTERM with no shard in hand; expected to run to the end; the same "
            "command resumes"
        ) from None
    finally:
        signal.signal(signal.SIGTERM, before)


def drained(num_done: int, num_left: int) -> DrainedError:
    """The error that ends a drained run; exit codes tell it from a failure."""
    return DrainedError(
        f"Stopped by SIGTERM with {plural(num_done, 'shard')} done and {num_left} left; expected "
        "to run to "
        "the end; the same command resumes"
    )
