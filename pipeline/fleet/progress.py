"""One live line on a terminal, a plain line now and then elsewhere, nothing when quiet."""

import sys
import threading
import time
from types import TracebackType
from typing import TextIO

from pipeline.fleet.summary import RunSummary

_LIVE_SECONDS = 0.5
_PLAIN_SECONDS = 30.0


class Progress:
    """Shows a summary as it grows; used as a context manager around the run."""

    def __init__(
        self, summary: RunSummary, *, quiet: bool = False, stream: TextIO | None = None
    ) -> None:
        self._summary = summary
        self._quiet = quiet
        self._stream = stream or sys.stderr
        self._is_live = self._stream.isatty()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._show, daemon=True, name="xytok-progress")

    def __enter__(self) -> "Progress":
        if not self._quiet:
            self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        if not self._quiet:
            self._thread.join()
            if self._is_live:
                self._stream.write("\r\x1b[K")

    def _show(self) -> None:
        pause = _LIVE_SECONDS if self._is_live else _PLAIN_SECONDS
        while not self._over.wait(pause):
            line = progress_line(self._summary)
            self._stream.write(f"\r\x1b[K{line}" if self._is_live else f"{line}\n")
            self._stream.flush()


def progress_line(summary: RunSummary) -> str:
    """Hours, speed, clips, rejects, shards, time left and idle share in one line."""
    wall = summary.wall_seconds
    shards_left = summary.shards_total - summary.shards_skipped
    parts = [
        f"{summary.done + len(summary.failed)}/{shards_left} shards",
        f"{_hours_done(summary)} h",
        f"{summary.real_time_factor:,.0f}x real time",
        f"{summary.clips / max(wall, 1e-9):,.0f} clips/s",
        f"{summary.rejects.total()} rejects",
        f"left {_time_left(summary, wall)}",
    ]
    idle = summary.idle_share()
    if idle is not None:
        parts.append(f"codec idle {idle:.0%}")
    return " · ".join(parts)


def _hours_done(summary: RunSummary) -> str:
    hours = summary.source_seconds / 3600
    if not summary.bytes_done:
        return f"{hours:.2f}"
    # The bytes to do tell the hours to do, once some are done.
    return f"{hours:.2f}/{hours * summary.bytes_total / summary.bytes_done:.2f}"


def _time_left(summary: RunSummary, wall: float) -> str:
    if not summary.bytes_done:
        return "unknown"
    left = wall * (summary.bytes_total / summary.bytes_done - 1)
    return time.strftime("%-H:%M:%S", time.gmtime(left)) if left < 86400 else f"{left / 3600:.0f} h"
