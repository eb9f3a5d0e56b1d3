"""The event `progress`, from which `xytok status --watch` shows a run on another machine.

`run.py` writes it every 30 seconds; `inspect/live_status.py` reads it. Only the latest one has a
line for each worker: of 1,000 these would be up to 280 MB a day in the log.
"""

from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any

from pipeline.fleet.live_progress import RunProgress, WorkerLine
from pipeline.output.events import EventLog
from pipeline.worker.progress import ClipCounts
from pipeline.worker.stage_times import StageTime

PROGRESS = "progress"
_FIRST_SECONDS = 5.0
_PAUSE_SECONDS = 30.0
# Together they keep an event below 100 kB: most workers, letters of a node and of a shard's path.
_MOST_LINES = 1000
_NODE_LETTERS = 8
_SHARD_LETTERS = 36
_PLAIN = [f.name for f in fields(RunProgress) if f.name not in ("counts", "stages", "lines")]


class ProgressEvents:
    """Writes the progress of a run into its event log, now and then."""

    def __init__(self, events: EventLog) -> None:
        self._events = events
        self._due = _FIRST_SECONDS

    def show(self, progress: RunProgress) -> None:
        """Write an event when it is time."""
        if progress.seconds >= self._due:
            self._due = progress.seconds + _PAUSE_SECONDS
            fields = event_fields(progress)
            self._events.write_latest(PROGRESS, worker_fields(progress), **fields)
            self._events.flush()


def event_fields(progress: RunProgress) -> dict[str, Any]:
    """The progress as JSON values, without its workers."""
    return {
        **{name: _rounded(getattr(progress, name)) for name in _PLAIN},
        "counts": {name: _rounded(value) for name, value in asdict(progress.counts).items()},
        "busy_seconds": {name: _rounded(value) for name, value in progress.busy_seconds.items()},
    }


def worker_fields(progress: RunProgress) -> dict[str, Any]:
    """Its workers as JSON values; of more than 1,000 those that stand still longest."""
    lines = sorted(progress.lines, key=lambda line: -line.idle_seconds)[:_MOST_LINES]
    return {
        # Lists in the order of `WorkerLine`, because names would be half of the event.
        "lines": [
            [
                line.worker,
                line.node[:_NODE_LETTERS],
                line.shard[-_SHARD_LETTERS:],
                line.clips,
                round(line.real_time_factor),
                line.last_stage,
                round(line.idle_seconds),
            ]
            for line in lines
        ],
    }


def read_progress(event: Mapping[str, Any]) -> RunProgress:
    """The progress that an event tells."""
    return RunProgress(
        **{name: event.get(name, 0.0) for name in _PLAIN},  # older logs do not tell all
        counts=ClipCounts(**event["counts"]),
        # An event tells no threads and no time of processors.
        stages=tuple(StageTime(name, 1, busy, 0) for name, busy in event["busy_seconds"].items()),
        lines=tuple(WorkerLine(*line) for line in event.get("lines", ())),
    )


def _rounded(value: Any) -> Any:
    return round(value, 3) if isinstance(value, float) else value
