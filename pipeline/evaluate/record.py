"""An evaluation as JSON: every figure with its bounds, and what it depends on."""

from dataclasses import asdict
from typing import Any

from pipeline.audit.judge.inference import Interval
from pipeline.audit.metrics.scores import metric_versions
from pipeline.evaluate.clip_names import speaker_of
from pipeline.evaluate.published import PUBLISHED
from pipeline.evaluate.system import Evaluation, System

FORMAT = 1


def as_json(evaluation: Evaluation) -> dict[str, Any]:
    """Plain values; bounds that are not known are null."""
    return {
        "format": FORMAT,
        "data": evaluation.data,
        "limit": evaluation.limit,
        "sample": asdict(evaluation.sample),
        "probe_data": evaluation.probe_data,
        "measured": [_system(system) for system in evaluation.systems],
        "clips_left_out": evaluation.left_out,
        "probe_clips_left_out": evaluation.untested,
        "versions": metric_versions(),
        # Of other recordings and models: context, not a comparison.
        "published": [asdict(row) for row in PUBLISHED],
    }


def _system(system: System) -> dict[str, Any]:
    shape = system.shape
    return {
        "name": system.name,
        "is_run": system.is_run,
        "codec": dict(system.codec),
        "bits_per_second": shape.bits_per_second,
        "frame_rate_hz": shape.frame_rate_hz,
        "clips": len(system.clips),
        "speakers": len({speaker_of(clip) for clip in system.clips}),
        "seconds": sum(clip.duration for clip in system.clips),
        "sim_model": system.sim_model,
        "heard": asdict(system.heard) if system.heard.model else None,
        "figures": {name: _interval(each) for name, each in system.figures.items()},
        "missing": system.why_missing(),
        "speed": asdict(system.speed) if system.speed else None,
        "probe": asdict(system.probe) if system.probe else None,
    }


def _interval(interval: Interval) -> dict[str, Any]:
    known = interval.is_known
    return {
        "estimate": interval.estimate,
        "low": interval.low if known else None,
        "high": interval.high if known else None,
        "clips": interval.num_values,
    }
