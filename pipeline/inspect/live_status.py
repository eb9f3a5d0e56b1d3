"""How far a run is while it works, from the events in its output alone; also on another machine.

`xytok status --watch` shows it. What is shown is as old as the last event `progress`.
"""

import time
from dataclasses import dataclass

from pipeline.fleet.live_progress import RunProgress
from pipeline.fleet.progress import facts_of
from pipeline.fleet.progress_event import PROGRESS, read_progress
from pipeline.output.events import read_events, read_latest
from pipeline.plural import plural
from pipeline.storage.client import Storage
from pipeline.storage.location import normalise

# Events come every 30 seconds, and in a bucket they are seen up to 30 seconds later.
_OLD_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class LiveStatus:
    """The last progress of a run, when it was told, and whether the run has ended since."""

    progress: RunProgress | None
    told: float
    has_ended: bool

    def summary(self) -> str:
        """One line: hours, speed, time left, and how old this is."""
        if self.progress is None:
            return "no progress was told yet"
        share = self.progress.work_done / max(1, self.progress.work_total)
        return f"{share:.0%}, {facts_of(self.progress)}, {self._age()}"

    def lines(self, most: int) -> list[str]:
        """The summary, and at most so many workers: first those whose last step is oldest."""
        if self.progress is None:
            return [self.summary()]
        progress = self.progress
        lines = [
            self.summary(),
            f"{plural(progress.workers, 'worker')}, {plural(progress.shards_in_hand, 'shard')} "
            "in hand, "
            f"{progress.shards_failed} failed, {plural(progress.nodes_aside, 'node')} set aside",
        ]
        workers = sorted(progress.lines, key=lambda line: -line.idle_seconds)
        lines += [
            f"{line.worker:<12} {line.node[:8]:<8} {line.shard:<36} {line.clips:>8} clips "
            f"{line.real_time_factor:>7,.0f}x  {line.last_stage or '-':<6} "
            f"{line.idle_seconds:.0f} s ago"
            for line in workers[:most]
        ]
        if len(workers) > most:
            lines.append(f"and {plural(len(workers) - most, 'more worker')}")
        return lines

    def _age(self) -> str:
        age = max(0.0, time.time() - self.told)
        doubt = "; its driver may be gone" if age > _OLD_SECONDS and not self.has_ended else ""
        return f"told {age:.0f} s ago{doubt}"


def read_live_status(output: str, storage: Storage) -> LiveStatus:
    """The live status of an output folder."""
    last, told, since, has_ended = None, 0.0, 0.0, False
    for event in read_events(storage, normalise(output)):
        kind = event.get("event")
        if kind == "run_started":
            last, since, has_ended = None, float(event["time"]), False
        elif kind == PROGRESS:
            last, told = event, float(event["time"])
        elif kind == "run_ended":
            has_ended = True
    latest = read_latest(storage, normalise(output))
    if latest.get("event") == PROGRESS and float(latest["time"]) >= max(since, told):
        last, told = latest, float(latest["time"])
    return LiveStatus(read_progress(last) if last else None, told, has_ended)
