"""Counters and gauges of a run for Ray's Prometheus endpoint; they exist where Ray runs."""

from typing import Any

from pipeline.worker.writer import ShardOutcome

_TAGS = ("run",)


class RunMetrics:
    """Follows the outcomes of a run; one object per driver."""

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
        """Count one outcome."""
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
            # Counters of Ray refuse a step of nothing.
            if value:
                metric.inc(value, tags=self._tags)

    def show(self, workers: int, shards_left: int) -> None:
        """Set what is the case now."""
        self._workers.set(workers, tags=self._tags)
        self._left.set(shards_left, tags=self._tags)
