"""The status of a run, told from its output alone: done, left, failed, and rejects by reason.

`xytok status` calls it, also from another machine while the run works.
"""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from pipeline.corpus.reject_reasons import Reason
from pipeline.output.events import read_events
from pipeline.output.manifest import list_manifests, read_named_manifests
from pipeline.output.run_record import read_run_record
from pipeline.storage.client import Storage
from pipeline.storage.location import normalise, redact


@dataclass(frozen=True, slots=True)
class RunStatus:
    """The state of a run; `left` is None when no event log says how many shards there were."""

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
    job: str | None

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
            f"clips     {self.codes} codes, {sum(self.rejects.values())} rejects, "
            f"{self.filtered} filtered, {self.hours:.3f} h of speech",
        ]
        lines += [
            f"rejects   {count} {reason}: {Reason(reason).meaning}"
            for reason, count in self.rejects.items()
        ]
        if self.job:
            lines.append(f"job       {self.job}")
        lines += [f"damaged   {shard}" for shard in self.damaged]
        lines += [f"failed    {shard}: {error}" for shard, error in self.failed.items()]
        return lines


@dataclass(slots=True)
class _History:
    left: int | None = None
    failed: dict[str, str] = field(default_factory=dict)
    last_event: str | None = None
    job: str | None = None

    def take(self, event: dict[str, Any]) -> None:
        """Apply one event."""
        kind, shard = event.get("event"), str(event.get("shard"))
        self.last_event = f"{kind} at {event.get('time')}"
        if kind == "run_started":
            # Every driver lists what is left, so the last one counts.
            self.left, self.failed, self.job = int(event["shards"]), {}, event.get("job")
        elif kind == "shard_done":
            self.left = None if self.left is None else self.left - 1
        elif kind == "shard_failed":
            self.left = None if self.left is None else self.left - 1
            self.failed[shard] = str(event.get("error"))


def read_status(output: str, storage: Storage) -> RunStatus:
    """The status of an output folder."""
    output = normalise(output)
    record = read_run_record(storage, output)
    codec = record.identity["codec"]
    names = [n for n in list_manifests(storage, output) if n.identity8 == record.identity8]
    manifests = read_named_manifests(storage, output, names)
    history = _read_history(output, storage)
    rejects: Counter[str] = Counter()
    for manifest in manifests:
        rejects.update(manifest.rejects_by_reason)
    return RunStatus(
        done=len(manifests),
        left=history.left,
        failed=history.failed,
        damaged=[redact(manifest.url) for manifest in manifests if manifest.is_damaged],
        clips=sum(manifest.clips_seen for manifest in manifests),
        codes=sum(manifest.codes for manifest in manifests),
        filtered=sum(manifest.filtered for manifest in manifests),
        hours=sum(manifest.source_seconds for manifest in manifests) / 3600,
        rejects=dict(rejects.most_common()),
        identity8=record.identity8,
        codec=f"{codec['name']} ({codec['checkpoint_sha256'][:12]}, {codec['precision']})",
        last_event=history.last_event,
        job=history.job,
    )


def num_left(storage: Storage, output: str) -> int:
    """How many shards of the last command are not done, including failed ones."""
    history = _read_history(output, storage)
    return (history.left or 0) + len(history.failed)


def _read_history(output: str, storage: Storage) -> _History:
    history = _History()
    for event in read_events(storage, output):
        history.take(event)
    return history
