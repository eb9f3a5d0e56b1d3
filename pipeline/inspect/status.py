"""The status of a run, told from its output alone: done, left, failed, and rejects by reason.

`xytok status` calls it, also from another machine while the run works. What manifests say comes
from the index of the output, and from the manifests that it does not know.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from pipeline.corpus.reject_reasons import Reason
from pipeline.fleet.lease import read_holder
from pipeline.output.dropped import read_dropped
from pipeline.output.events import read_events
from pipeline.output.index import read_shards
from pipeline.output.manifest import ManifestName, list_manifests
from pipeline.output.retries import finished_in
from pipeline.output.run_record import read_run_record
from pipeline.plural import plural
from pipeline.storage.client import Storage
from pipeline.storage.location import normalise

_COUNTS = ("clips_seen", "codes", "filtered")
SUMMED_COLUMNS = (*_COUNTS, "source_seconds", "rejects_by_reason", "num_holes", "url")


@dataclass(frozen=True, slots=True)
class RunStatus:
    """The state of a run; `left` is None when no event log says how many shards there were.

    `held_by` is the process that hands out work there, as its lease says.
    """

    done: int
    left: int | None
    failed: dict[str, str]
    damaged: list[str]
    clips: int
    codes: int
    filtered: int
    hours: float
    rejects: dict[str, int]
    identity8: str
    codec: str
    last_event: str | None
    error: str | None
    job: str | None
    dropped: int = 0
    retried: int = 0
    held_by: str | None = None

    @property
    def is_complete(self) -> bool:
        """Whether no shard is left or failed, as far as the output tells."""
        return not self.failed and not self.left

    def lines(self) -> list[str]:
        """The status as lines of text."""
        left = "an unknown number" if self.left is None else self.left
        lines = [
            f"run       {self.identity8}, codec {self.codec}",
            f"shards    {self.done} done, {left} left, {len(self.failed)} failed, "
            f"{len(self.damaged)} damaged",
            f"clips     {self.codes:,} codes, {plural(sum(self.rejects.values()), 'reject')}, "
            f"{self.filtered} filtered, {self.hours:.3f} h of speech",
        ]
        lines += [
            f"rejects   {count} {reason}: {Reason(reason).meaning}"
            for reason, count in self.rejects.items()
        ]
        if self.retried:
            lines.append(f"retried   {self.retried} of these rejects have codes by `xytok retry`")
        if self.dropped:
            lines.append(f"dropped   {self.dropped} of these codes, by `xytok drop`")
        if self.job:
            lines.append(f"job       {self.job}")
        if self.held_by:
            lines.append(f"at work   {self.held_by}, by its lease; `--watch` shows if it moves")
        if self.error:
            lines.append(f"ended     by {self.error}")
        lines += [f"damaged   {shard}" for shard in self.damaged]
        lines += [f"failed    {shard}: {error}" for shard, error in self.failed.items()]
        return lines


@dataclass(slots=True)
class _History:
    """What the event logs say of the last command; `num_before` manifests were there at its start.

    Shards are counted by their manifests: a worker may finish one after its driver stopped. The
    logs of older versions do not tell `num_before`, so that their events are counted.
    """

    num_shards: int | None = None
    num_before: int | None = None
    num_done: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    last_event: str | None = None
    job: str | None = None
    error: str | None = None

    def take(self, event: dict[str, Any]) -> None:
        """Apply one event."""
        kind, shard = event.get("event"), str(event.get("shard"))
        self.last_event = f"{kind} at {event.get('time')}"
        if kind == "run_started":
            # Every driver lists what is left, so the last one counts.
            self.num_shards, self.num_before = int(event["shards"]), event.get("manifests")
            self.num_done, self.failed, self.job = 0, {}, event.get("job")
            self.error = None
        elif kind == "run_ended":
            self.error = event.get("error")
        elif kind == "shard_done":
            self.num_done += 1
        elif kind == "shard_failed":
            self.failed[shard] = str(event.get("error"))

    def left(self, num_manifests: int) -> int | None:
        """Shards of the last command that are neither done nor failed."""
        if self.num_shards is None:
            return None
        done = self.num_done if self.num_before is None else num_manifests - self.num_before
        return max(0, self.num_shards - done - len(self.failed))


@dataclass(slots=True)
class ShardSums:
    """Sums over finished shards; `damaged` are the URLs of those with holes."""

    done: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    rejects: Counter[str] = field(default_factory=Counter)
    damaged: list[str] = field(default_factory=list)

    def take(self, shards: Any) -> None:
        """Add rows of the index, with at least the columns that are summed."""
        columns = {name: shards[name].to_pylist() for name in SUMMED_COLUMNS}
        self.done += shards.num_rows
        self.counts.update({name: sum(columns[name]) for name in _COUNTS})
        self.seconds += sum(columns["source_seconds"])
        for reasons in columns["rejects_by_reason"]:
            self.rejects.update({each["reason"]: each["count"] for each in reasons})
        holes = zip(columns["url"], columns["num_holes"], strict=True)
        self.damaged += [url for url, num_holes in holes if num_holes]


def read_status(output: str, storage: Storage) -> RunStatus:
    """The status of an output folder."""
    output = normalise(output)
    record = read_run_record(storage, output)
    codec = record.identity["codec"]
    names = list_manifests(storage, output, record.identity8)
    sums = sums_of(storage, output, names)
    history = _read_history(output, storage)
    holder = read_holder(storage, output)
    return RunStatus(
        done=sums.done,
        left=history.left(len(names)),
        failed=history.failed,
        damaged=sums.damaged,
        clips=sums.counts["clips_seen"],
        codes=sums.counts["codes"],
        filtered=sums.counts["filtered"],
        hours=sums.seconds / 3600,
        rejects=dict(sums.rejects.most_common()),
        identity8=record.identity8,
        codec=f"{codec['name']} ({codec['checkpoint_sha256'][:12]}, {codec['precision']})",
        last_event=history.last_event,
        error=history.error,
        job=history.job,
        dropped=read_dropped(storage, output).num_clips,
        retried=sum(
            sums_of(storage, place.url, its).counts["codes"]
            for place, its in finished_in(storage, output, record.identity8)
            if place.prefix
        ),
        held_by=str(holder) if holder else None,
    )


def sums_of(storage: Storage, output: str, names: Sequence[ManifestName]) -> ShardSums:
    """The sums over finished shards of an output."""
    sums = ShardSums()
    for shards in read_shards(storage, output, names, SUMMED_COLUMNS):
        sums.take(shards)
    return sums


def num_left(storage: Storage, output: str, num_manifests: int) -> int:
    """How many shards of the last command are not done, including failed ones."""
    history = _read_history(output, storage)
    return (history.left(num_manifests) or 0) + len(history.failed)


def _read_history(output: str, storage: Storage) -> _History:
    history = _History()
    for event in read_events(storage, output):
        history.take(event)
    return history
