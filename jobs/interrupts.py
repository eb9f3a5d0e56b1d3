"""Ctrl-C: the first one ends a verb in order and says so at once, the second ends the process."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from jobs.exit_codes import INTERRUPTED

WORKERS = (
    "workers to stop; they leave shards in hand undone, which the same command does (after SIGTERM "
    "they finish them)"
)
_waits_for: list[str] = []


def end_on_interrupt() -> None:
    """Take SIGINT so in this process; `main` calls it."""
    signal.signal(signal.SIGINT, _end)


@contextmanager
def waiting_for(what: str) -> Iterator[None]:
    """Say on Ctrl-C, inside of this block, what the end of the verb waits for."""
    _waits_for.append(what)
    try:
        yield
    finally:
        _waits_for.pop()


def _end(*_: object) -> None:
    signal.signal(signal.SIGINT, lambda *_: os._exit(INTERRUPTED))
    wait = f"; waiting for {_waits_for[-1]}" if _waits_for else ""
    # Not by print: a signal may come while another line is printed.
    os.write(sys.stderr.fileno(), f"\nEnding on Ctrl-C{wait}; once more ends at once\n".encode())
    raise KeyboardInterrupt
