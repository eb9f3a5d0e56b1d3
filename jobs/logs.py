"""`--verbose`, `--quiet`, `--log-level` and `--log-file`: where log lines go, for every verb.

Log lines go to stderr and never to stdout. Loggers of other packages keep Python's default level,
WARNING. What a verb prints when it ends is logged by `RESULT` for the log file alone.
"""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

_PACKAGES = ("jobs", "pipeline", "xy_codec")
RESULT = logging.getLogger("jobs.result")
# Of every verb that runs now, the levels that it found; the first found those of the program.
_levels_found: list[list[int]] = []


@dataclass(frozen=True, slots=True)
class LogOptions:
    """What is printed to stderr beside the result.

    Attributes:
        quiet: print only warnings and errors, and no progress.
        verbose: print debug lines too.
        log_level: print lines of this level and above; default: info.
        log_file: append all lines, debug lines included, to this file.
    """

    quiet: Annotated[bool, Parameter(alias="-q")] = False
    verbose: Annotated[bool, Parameter(alias="-v")] = False
    log_level: Literal["debug", "info", "warning", "error"] | None = None
    log_file: Path | None = None

    @property
    def stderr_level(self) -> int:
        """The level of lines on stderr; `--log-level` wins over the two short forms."""
        if self.log_level:
            return logging.getLevelNamesMapping()[self.log_level.upper()]
        if self.quiet:
            return logging.WARNING
        return logging.DEBUG if self.verbose else logging.INFO

    @contextmanager
    def handlers(self) -> Iterator[None]:
        """Log as these options say, until the verb ends."""
        root = logging.getLogger()
        shown = logging.StreamHandler(sys.stderr)
        shown.setLevel(self.stderr_level)
        shown.addFilter(lambda record: record.name != RESULT.name)
        handlers: list[logging.Handler] = [shown]
        if self.log_file:
            kept = logging.FileHandler(self.log_file, encoding="utf-8")
            kept.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
            handlers.append(kept)
        for handler in handlers:
            root.addHandler(handler)
        ours = [logging.getLogger(name) for name in _PACKAGES]
        _levels_found.append([logger.level for logger in ours])
        for logger in ours:
            logger.setLevel("DEBUG" if self.log_file else self.stderr_level)
        try:
            yield
        except (Exception, KeyboardInterrupt) as error:
            RESULT.debug("Ended by %s: %s", type(error).__name__, error)
            raise
        finally:
            found = _levels_found.pop()
            if not _levels_found:
                for logger, level in zip(ours, found, strict=True):
                    logger.setLevel(level)
            for handler in handlers:
                root.removeHandler(handler)
                handler.close()


Log = Annotated[LogOptions, Parameter(name="*", group="Log")]


def tell(message: object) -> None:
    """Print to stderr what is neither data nor a log line, such as one bad file among many."""
    print(message, file=sys.stderr)
