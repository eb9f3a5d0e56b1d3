"""How far a run or an audit is: a bar in terminals and notebooks, plain lines elsewhere.

The bar is tqdm's. `run_tokenize` shows its bytes here, `run_audit` its shards.
"""

import logging
import math
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TextIO

from tqdm import TqdmWarning, tqdm

from pipeline.fleet.live_progress import STILL_SECONDS, RunProgress
from pipeline.fleet.summary import RunSummary
from pipeline.plural import plural

with warnings.catch_warnings():
    # It warns in every notebook, and again where ipywidgets is missing and a text bar is drawn.
    warnings.simplefilter("ignore", TqdmWarning)
    from tqdm.auto import tqdm as tqdm_anywhere

# Takes how much is done, and facts to show beside it.
Show = Callable[[int, str], None]
_BAR_SECONDS = 1.0
_FIRST_LINE_SECONDS = 5.0
_LINE_SECONDS = 30.0
_LINE = "{percentage:.0f}% in {elapsed}, left {remaining}{postfix}"
# A run says by itself how long it will take; the bar would only know how long it took so far.
_RUN_BAR = "{l_bar}{bar}| {n_fmt}/{total_fmt} [{elapsed}{postfix}]"
_RUN_LINE = "{percentage:.0f}% in {elapsed}{postfix}"


@contextmanager
def show_progress(
    total: int,
    unit: str,
    *,
    quiet: bool = False,
    stream: TextIO | None = None,
    formats: tuple[str | None, str] = (None, _LINE),
) -> Iterator[Show]:
    """Show on stderr, or another stream, how much of `total` is done; nothing when quiet.

    It is drawn again every second, or written after 5 and then every 30 seconds as a line, also
    while nothing gets done: a log shows then that the work goes on. `formats` are those of the bar
    and of the line.
    """
    if quiet:
        yield lambda _done, _facts: None
        return
    stream = stream or sys.stderr
    # The stream of a notebook says that it is no terminal, but it can show a bar.
    has_bar = stream.isatty() or "ipykernel" in sys.modules
    bar: tqdm[None] = (tqdm_anywhere if has_bar else _Lines)(
        total=total,
        unit=unit,
        unit_scale=unit == "B",
        dynamic_ncols=has_bar,
        file=stream,
        delay=0 if has_bar else math.inf,  # no line at the start, and none at the end
        bar_format=formats[0 if has_bar else 1],
    )
    over = threading.Event()

    def show(done: int, facts: str) -> None:
        bar.n = done
        bar.set_postfix_str(facts, refresh=False)

    def redraw() -> None:
        pause = _BAR_SECONDS if has_bar else _FIRST_LINE_SECONDS
        while not over.wait(pause):
            bar.refresh()
            pause = _BAR_SECONDS if has_bar else _LINE_SECONDS

    thread = threading.Thread(target=redraw, daemon=True, name="xytok-progress")
    thread.start()
    try:
        with _log_lines_above(bar, stream):
            yield show
    finally:
        over.set()
        thread.join()
        bar.close()


@contextmanager
def show_run(summary: RunSummary, *, quiet: bool) -> Iterator[Callable[[RunProgress], None]]:
    """Show how far a run is by its bytes, or by its shards where no listing knows their sizes."""
    shards = summary.shards_total - summary.shards_skipped
    is_sized = summary.bytes_total > 0
    total, unit = (summary.bytes_total, "B") if is_sized else (shards, " shards")
    with show_progress(total, unit, quiet=quiet, formats=(_RUN_BAR, _RUN_LINE)) as show:
        show(0, f"0/{shards} shards")
        yield lambda progress: show(progress.work_done, facts_of(progress))


def facts_of(progress: RunProgress) -> str:
    """One line about a run, the most important first, because a narrow terminal cuts it."""
    ended = progress.shards_done + progress.shards_failed
    left = progress.eta_seconds
    facts = [
        "left ?" if left is None else f"left {tqdm.format_interval(math.ceil(left))}",
        f"{ended}/{ended + progress.shards_left} shards",
        f"{progress.counts.source_seconds / 3600:.2f} h",
        f"{progress.real_time_factor:,.0f}x real time now",
        f"{progress.mean_real_time_factor:,.0f}x since the start",
        plural(sum(progress.counts.rejects.values()), "reject"),
    ]
    if progress.bytes_read and not progress.counts.clips:
        # While the first clips are decoded and encoded, nothing else moves.
        read = tqdm.format_sizeof(progress.bytes_read, suffix="B")
        facts.insert(1, f"{read} read, no clip is through yet")
    if progress.still_seconds >= STILL_SECONDS:
        facts.insert(0, f"nothing moved for {progress.still_seconds:.0f} s")
    if progress.outage_seconds:
        facts.insert(0, f"storage does not answer for {progress.outage_seconds:.0f} s")
    if progress.idle_share is not None:
        facts.append(f"codec idle {progress.idle_share:.0%}")
    return ", ".join(facts)


@contextmanager
def _log_lines_above(bar: "tqdm[None]", stream: TextIO) -> Iterator[None]:
    """Clear the bar before every log line, which would otherwise stand behind it."""

    def clear(_record: logging.LogRecord) -> bool:
        bar.clear()
        return True

    logs = [log for log in logging.root.handlers if getattr(log, "stream", None) is stream]
    for log in logs:
        log.addFilter(clear)
    try:
        yield
    finally:
        for log in logs:
            log.removeFilter(clear)


class _Lines(tqdm):  # type: ignore[type-arg]  # generic in its stubs only
    """Writes a line where a bar would be drawn over the one before."""

    def clear(self, *_: Any, **__: Any) -> None:
        """Leave the lines that are written."""

    @staticmethod
    def status_printer(file: Any) -> Callable[[str], None]:
        def write(line: str) -> None:
            file.write(f"{line}\n")
            file.flush()

        return write
