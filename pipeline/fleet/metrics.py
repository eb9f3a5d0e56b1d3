"""Counters and gauges of a run at the Prometheus endpoint of Ray; the inline engine has none."""

from typing import Any

from pipeline.worker.writer import ShardOutcome

_TAGS = ("run",)


class RunMetrics:
    """The metrics of one run; its driver makes one object and gives it every outcome."""

    def __init__(self, run: str) -> None:
        from ray.util.metrics import Counter, Gauge

        self._tags = {"run": run}

        def counter(name: str, description: str) -> Any:
            return Counter(f"xytok_{name}", description=description, tag_keys=_TAGS)

        self._shards = counter("shards_done", "Shards with a manifest")
        self._failed = counter("shards_failed", "Shards that failed or were quarantined")
        self._clips = counter("clips", "Clips that became codes")
        self._rejects = counter("rejects", "Clips that became rejects")
        self._seconds = counter("speech_seconds", "Seconds of speech encoded")
        self._workers = Gauge("xytok_workers", description="Workers ready", tag_keys=_TAGS)
        self._left = Gauge("xytok_shards_left", description="Shards to do", tag_keys=_TAGS)

    def take(self, outcome: ShardOutcome) -> None:
        """Count the shard of an outcome, its clips and its seconds of speech."""
        manifest = outcome.manifest
        if manifest is None:
            self._failed.inc(tags=self._tags)
            return
        self._shards.inc(tags=self._tags)
        for metric, value in (
            (self._clips, manifest.codes),
            (self._rejects, manifest.rejects),
            (self._seconds, manifest.source_seconds),
        ):
            # Ray refuses to add 0 to a counter.
            if value:
                metric.inc(value, tags=self._tags)

    def show(self, workers: int, shards_left: int) -> None:
        """Set how many workers are ready and how many shards are left."""
        self._workers.set(workers, tags=self._tags)
        self._left.set(shards_left, tags=self._tags)
