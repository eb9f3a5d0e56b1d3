"""Counters and gauges of a run at the Prometheus endpoint of Ray; the inline engine has none.

They move with every progress of the run, about once a second. `docker/grafana.json` shows them.
"""

from typing import Any

from pipeline.fleet.live_progress import RunProgress

_TAGS = ("run",)
# Beside the run, what a counter is split by.
COUNTERS: dict[str, tuple[str, tuple[str, ...]]] = {
    "clips": ("Clips that became codes", ()),
    "rejects": ("Clips that became rejects, by reason", ("reason",)),
    "filtered": ("Clips that the filter left out", ()),
    "speech_seconds": ("Seconds of speech encoded", ()),
    "bytes_read": ("Bytes read of shards, also of those that were lost", ()),
    "stage_busy_seconds": ("Busy seconds of all threads of a stage", ("stage",)),
    "shards_done": ("Shards with a manifest", ()),
    "shards_failed": ("Shards that failed or were quarantined", ()),
}
GAUGES = {
    "workers": "Workers ready",
    "shards_left": "Shards to do, with those in hand",
    "shards_in_hand": "Shards that workers have",
    "nodes_aside": "Nodes that get no more shards",
    "outage_seconds": "How long storage has not answered; 0 when it does",
}


class RunMetrics:
    """The metrics of one run; its engine makes one object and gives it every progress."""

    def __init__(self, run: str) -> None:
        from ray.util.metrics import Counter, Gauge

        self._tags = {"run": run}
        self._counters: dict[str, Any] = {
            name: Counter(f"xytok_{name}", description=text, tag_keys=(*_TAGS, *split))
            for name, (text, split) in COUNTERS.items()
        }
        self._gauges: dict[str, Any] = {
            name: Gauge(f"xytok_{name}", description=text, tag_keys=_TAGS)
            for name, text in GAUGES.items()
        }
        self._counted: dict[tuple[str, str], float] = {}

    def show(self, progress: RunProgress) -> None:
        """Add what came since the last progress, and set the gauges."""
        counts = progress.counts
        for name, value in (
            ("clips", counts.codes),
            ("filtered", counts.filtered),
            ("speech_seconds", counts.source_seconds),
            ("bytes_read", progress.bytes_read),
            ("shards_done", progress.shards_done),
            ("shards_failed", progress.shards_failed),
        ):
            self._raise(name, value)
        for reason, number in counts.rejects.items():
            self._raise("rejects", number, reason)
        for stage, seconds in progress.busy_seconds.items():
            self._raise("stage_busy_seconds", seconds, stage)
        for name in GAUGES:
            self._gauges[name].set(getattr(progress, name), tags=self._tags)

    def _raise(self, name: str, value: float, label: str = "") -> None:
        more = value - self._counted.get((name, label), 0.0)
        # Ray refuses to add 0 to a counter.
        if more > 0:
            self._counted[name, label] = value
            labels = dict.fromkeys(COUNTERS[name][1], label)
            self._counters[name].inc(more, tags=self._tags | labels)
