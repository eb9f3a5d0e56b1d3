"""The record of one stage: a JSON file that is complete whenever it is looked at.

Every `put` writes the file anew, so what a stage had found before it was cut or failed is kept.
"""

import json
import os
import signal
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

_LAST_LINES = 12
_LINE_WIDTH = 200


# Where a cut falls into code that swallows it, the next one follows so many seconds later.
_NEXT_CUT_SECONDS = 5.0


class StageCutError(BaseException):
    """The time of a stage is over; not an `Exception`, which torch's compiler would catch."""


class DeviceLostError(BaseException):
    """The device answers nothing any more in this process, as after a fault in a kernel."""


class Record:
    """What a stage found, with its state: `running`, `done`, `cut` or `failed`."""

    def __init__(
        self,
        path: Path,
        stage: str,
        about: Mapping[str, Any],
        seconds: float,
        answers: Callable[[], bool] = lambda: True,
    ) -> None:
        """Open a record.

        Args:
            answers: whether the device still works; asked after errors.
        """
        self.path = path
        self._answers = answers
        self.started = time.monotonic()
        self.seconds = seconds
        self.found: dict[str, Any] = {}
        self.content: dict[str, Any] = {
            "stage": stage,
            "state": "running",
            "about": dict(about),
            "seconds": 0.0,
            "allowed_seconds": round(seconds, 1),
            "notes": [],
            "error": [],
            "found": self.found,
        }

    @property
    def left(self) -> float:
        """Seconds that the stage may still take."""
        return self.seconds - (time.monotonic() - self.started)

    @property
    def state(self) -> str:
        return str(self.content["state"])

    def put(self, name: str, value: Any) -> None:
        """Note a finding under its name; dots lead into groups."""
        *groups, leaf = name.split(".")
        place = self.found
        for group in groups:
            place = place.setdefault(group, {})
        place[leaf] = value
        self.write()

    def note(self, line: str) -> None:
        """Say something about the findings, such as what was left out and why."""
        self.content["notes"].append(line)
        print(f"  note: {line}", flush=True)
        self.write()

    def attempt(self, name: str, action: Callable[..., Any], *arguments: Any) -> None:
        """Note what an action returns, or the error it ends with, and go on."""
        try:
            self.put(name, action(*arguments))
        except Exception as error:
            self.put(name, {"error": first_line(error)})
            print(f"  {name}: {first_line(error)}", flush=True)
            if not self._answers():
                raise DeviceLostError(f"the device was lost in {name}") from error

    def write(self) -> None:
        """Replace the file in one step."""
        self.content["seconds"] = round(time.monotonic() - self.started, 1)
        partial = self.path.with_suffix(".partial")
        with partial.open("w") as file:
            json.dump(self.content, file, indent=1, default=float)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(self.path)

    def run(self, stage: Callable[["Record"], None]) -> bool:
        """Run a stage within its time, note an error that ends it; whether the device is left."""
        self.write()
        try:
            with _alarm(self.seconds):
                stage(self)
            self.content["state"] = "done"
        except StageCutError:
            self.content["state"] = "cut"
            self.content["notes"].append(
                f"cut after {self.seconds:.0f} s; what is missing had no time"
            )
        except (Exception, DeviceLostError) as error:
            self.content["state"] = "failed"
            self.content["error"] = traceback.format_exc().splitlines()[-_LAST_LINES:]
            print(f"  failed: {first_line(error)}", flush=True)
        is_left = self._answers()
        if not is_left:
            self.content["state"] = "failed"
            self.content["notes"].append("the device was lost: what came last may be wrong")
        self.write()
        return is_left


def end_record(path: Path, error: str) -> None:
    """Note in a stage's file that its process ended within it; what it had found stays."""
    content = json.loads(path.read_text()) if path.exists() else {"state": "not begun"}
    if content["state"] == "running":
        content["state"], content["error"] = "failed", [error]
        path.write_text(json.dumps(content, indent=1))


def is_done(path: Path) -> bool:
    """Whether a complete record is there already."""
    try:
        return bool(json.loads(path.read_text())["state"] == "done")
    except (OSError, ValueError, KeyError):
        return False


def first_line(error: BaseException) -> str:
    """Kind and first line of an error."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else ''}"[:_LINE_WIDTH]


@contextmanager
def _alarm(seconds: float) -> Iterator[None]:
    """Raise `StageCutError` in this thread when the time is over."""

    def cut(number: int, frame: FrameType | None) -> None:
        raise StageCutError

    before = signal.signal(signal.SIGALRM, cut)
    signal.setitimer(signal.ITIMER_REAL, max(seconds, 0.01), _NEXT_CUT_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
