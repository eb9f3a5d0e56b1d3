"""`--webhook URL`: a small JSON is sent to a chat or pager when a run ends, fails or stands still.

Messages are sent from a thread and never disturb the run. The URL may hold a secret: it is neither
logged nor recorded, and its redirects are not followed.
"""

import json
import logging
import queue
import re
import threading
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from pipeline.errors import UsageError
from pipeline.fleet.live_progress import RunProgress
from pipeline.fleet.summary import RunSummary
from pipeline.storage.location import redact
from pipeline.worker.progress import ClipCounts

logger = logging.getLogger(__name__)
_LIMIT_SECONDS = 10.0
_MOST_LETTERS = 2000
_URL = re.compile(r"[\w+.-]+://[^\s`'\",;)]+")


def read_webhook(argument: str | None) -> str | None:
    """The URL; `argument` is the URL itself, or `@FILE` with nothing but the URL."""
    if argument is None:
        return None
    url = argument
    if argument.startswith("@"):
        path = Path(argument[1:]).expanduser()
        try:
            url = path.read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(
                f"`--webhook @{path}` cannot be read ({type(error).__name__}); expected a file "
                "with the URL; check the path and its permissions"
            ) from error
    if not re.fullmatch(r"https?://\S+", url):
        raise UsageError(
            "`--webhook` is no URL (it is not shown, as it may be a secret); expected one that "
            "begins with `https://` or `http://`, or `@FILE` with such a URL; correct it"
        )
    return url


class Webhook:
    """Sends messages about one run; without a URL it sends none.

    As a context manager it tells how the block ended. It stands still when no worker makes a step
    for `stall_seconds`, or when storage does not answer.
    """

    def __init__(self, url: str | None, output: str, stall_seconds: float) -> None:
        self._url = url
        self._output = redact(output)
        self._stall_seconds = stall_seconds
        self._totals: Mapping[str, Any] = {}
        self._steps, self._stepped, self._quiet_until = 0, 0.0, 0.0
        self._messages: queue.SimpleQueue[Mapping[str, Any] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._send_all, daemon=True, name="xytok-webhook")

    def __enter__(self) -> Self:
        if self._url is not None:
            self._thread.start()
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        if self._url is None:
            return
        if error is None:
            self._tell("end")
        else:
            self._tell("failure", str(error) or type(error).__name__)
        self._messages.put(None)
        self._thread.join(_LIMIT_SECONDS)

    def show(self, progress: RunProgress) -> None:
        """Take the progress of the run, and tell when it stands still."""
        self._totals = _of_progress(progress)
        now = progress.seconds
        if progress.steps != self._steps:
            self._steps, self._stepped = progress.steps, now
        if progress.outage_seconds:
            why = f"storage does not answer for {progress.outage_seconds:.0f} s; the run pauses"
        elif now - self._stepped >= self._stall_seconds:
            why = f"no worker made a step for {(now - self._stepped) / 60:.0f} minutes"
        else:
            return
        if now >= self._quiet_until:
            self._quiet_until = now + self._stall_seconds
            self._tell("stall", why)

    def take(self, summary: RunSummary) -> None:
        """Take the sums of a run that is over."""
        self._totals = _of_summary(summary)

    def _tell(self, kind: str, error: str | None = None) -> None:
        text = None if error is None else _URL.sub(lambda url: redact(url.group()), error)
        message = {"kind": kind, "output": self._output, "totals": self._totals}
        self._messages.put(message | {"error": text and text[:_MOST_LETTERS]})

    def _send_all(self) -> None:
        while (message := self._messages.get()) is not None:
            try:
                self._send(message)
            except Exception as error:
                # The text of an error may hold the URL.
                status = getattr(error, "code", "")
                logger.warning(
                    "The webhook did not take the message `%s` (%s); the run goes on",
                    *(message["kind"], f"{type(error).__name__} {status}".strip()),
                )

    def _send(self, message: Mapping[str, Any]) -> None:
        assert self._url is not None, "the thread runs only with a URL"
        request = urllib.request.Request(
            self._url,
            json.dumps(message).encode(),
            {"Content-Type": "application/json", "User-Agent": "xytok"},
        )
        opener = urllib.request.build_opener(_NoRedirect)
        with opener.open(request, timeout=_LIMIT_SECONDS):
            pass


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Takes a redirect as a failure, so that a message goes to nobody else."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


def _of_progress(progress: RunProgress) -> Mapping[str, Any]:
    ends = (progress.shards_done, progress.shards_failed, progress.shards_left)
    return _totals(ends, progress.counts, progress.seconds, progress.mean_real_time_factor)


def _of_summary(summary: RunSummary) -> Mapping[str, Any]:
    done, failed = summary.done, len(summary.failed)
    ends = (done, failed, summary.shards_total - summary.shards_skipped - done - failed)
    return _totals(ends, summary.counts, summary.wall_seconds, summary.real_time_factor)


def _totals(
    ends: tuple[int, int, int], counts: ClipCounts, seconds: float, real_time_factor: float
) -> Mapping[str, Any]:
    return {
        **dict(zip(("done", "failed", "left"), ends, strict=True)),
        "codes": counts.codes,
        "filtered": counts.filtered,
        "rejects": dict(counts.rejects),
        "hours": round(counts.source_seconds / 3600, 6),
        "wall_seconds": round(seconds, 3),
        "real_time_factor": round(real_time_factor, 2),
    }
