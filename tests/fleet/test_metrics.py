"""Metrics move with every progress, and the dashboard shows exactly those that are exported."""

import json
import re
from collections import defaultdict
from dataclasses import fields, replace

import pytest

from pipeline.fleet.live_progress import LiveProgress, RunProgress
from pipeline.fleet.metrics import COUNTERS, GAUGES, RunMetrics
from pipeline.worker.progress import ClipCounts
from pipeline.worker.stage_times import StageTime
from tests.support.places import ROOT

DASHBOARD = ROOT / "docker/grafana.json"
EMPTY = LiveProgress(()).read({}, {}, nodes_aside=0, outage_seconds=0.0)


def queries() -> list[str]:
    panels = json.loads(DASHBOARD.read_text())["panels"]
    return [target["expr"] for panel in panels for target in panel["targets"]]


def test_the_dashboard_shows_exactly_what_is_exported() -> None:
    # Ray puts its own name before a metric, and `_total` behind a counter.
    exported = {f"ray_xytok_{name}_total" for name in COUNTERS}
    exported |= {f"ray_xytok_{name}" for name in GAUGES}
    assert set(re.findall(r"\w*xytok_\w+", " ".join(queries()))) == exported


def test_the_dashboard_splits_by_labels_that_exist() -> None:
    for query in queries():
        for label, name in re.findall(r"by \((\w+)\) \(rate\(ray_xytok_(\w+)_total", query):
            assert label in COUNTERS[name][1]
    assert sum(" by (" in query for query in queries()) == 2


def test_every_gauge_is_a_field_of_the_progress() -> None:
    assert set(GAUGES) <= {field.name for field in fields(RunProgress)}


class Endpoint:
    """What Prometheus would read, in the place of Ray's endpoint."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        import ray.util.metrics

        values: defaultdict[tuple[str, ...], float] = defaultdict(float)
        self.values = values

        class Recorder:
            def __init__(self, name: str, description: str, tag_keys: tuple[str, ...]) -> None:
                self.name, self.tag_keys = name, tag_keys
                assert description

            def _key(self, tags: dict[str, str]) -> tuple[str, ...]:
                assert set(tags) == set(self.tag_keys)
                return (self.name, *(tags[key] for key in self.tag_keys[1:]))

            def inc(self, value: float, tags: dict[str, str]) -> None:
                assert value > 0
                values[self._key(tags)] += value

            def set(self, value: float, tags: dict[str, str]) -> None:
                values[self._key(tags)] = value

        monkeypatch.setattr(ray.util.metrics, "Counter", Recorder)
        monkeypatch.setattr(ray.util.metrics, "Gauge", Recorder)


def test_metrics_move_inside_a_shard(monkeypatch: pytest.MonkeyPatch) -> None:
    endpoint = Endpoint(monkeypatch)
    metrics = RunMetrics("abcd1234")
    for turn in (1, 2, 2, 3):
        counts = ClipCounts(10 * turn, turn, 25.5 * turn, {"undecodable": turn})
        metrics.show(
            replace(
                EMPTY,
                counts=counts,
                bytes_read=1000 * turn,
                stages=(StageTime("encode", 1, 0.5 * turn, 0), StageTime("read", 1, 0.25, 0)),
                workers=2,
                shards_left=1,
                shards_in_hand=1,
                nodes_aside=1,
                outage_seconds=7.5,
            )
        )
    assert endpoint.values == {
        ("xytok_clips",): 30,
        ("xytok_filtered",): 3,
        ("xytok_speech_seconds",): 76.5,
        ("xytok_rejects", "undecodable"): 3,
        ("xytok_bytes_read",): 3000,
        ("xytok_stage_busy_seconds", "encode"): 1.5,
        ("xytok_stage_busy_seconds", "read"): 0.25,
        ("xytok_workers",): 2,
        ("xytok_shards_left",): 1,
        ("xytok_shards_in_hand",): 1,
        ("xytok_nodes_aside",): 1,
        ("xytok_outage_seconds",): 7.5,
    }
