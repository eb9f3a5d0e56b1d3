"""The baseline: what this codec did to data known to be good, per language and corpus, as a file.

Metrics are kept as quantiles, so a file stays small whatever the size of the run it came from.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.audit.findings import (
    METRIC_NAMES,
    AuditFindings,
    ClipFinding,
    entropy_bits,
    total_counts,
)
from pipeline.audit.judge.intervals import Values
from pipeline.audit.judge.significance import ShardSpread, shard_spread
from pipeline.errors import InputError, PipelineError
from pipeline.storage.client import Storage

FORMAT = "xytok audit baseline 1"
_MAX_QUANTILES = 1000
# A language with fewer clips than this is compared with the whole run instead.
_MIN_GROUP_CLIPS = 50

# (corpus, language); (None, None) is the whole run.
Group = tuple[str | None, str | None]
WHOLE: Group = (None, None)


@dataclass(frozen=True, slots=True)
class Reference:
    """One metric of one group: its distribution, sorted, and how much clean shards differ."""

    values: Values
    mean: float
    num_clips: int
    spread: ShardSpread


@dataclass(frozen=True, slots=True)
class Baseline:
    """References by group and metric, and what they were measured with."""

    label: str
    sim_model: str
    checkpoint: str
    groups: Mapping[Group, Mapping[str, Reference]]
    perplexity: tuple[float, ...] = ()

    def group_of(self, clip: ClipFinding) -> Group:
        """The closest group this baseline knows for a clip."""
        for group in ((clip.corpus, clip.language), (None, clip.language)):
            if group in self.groups:
                return group
        return WHOLE

    def reference(self, group: Group, metric: str) -> Reference | None:
        """The reference of a metric, in the group or else in the whole run."""
        return self.groups.get(group, {}).get(metric) or self.groups[WHOLE].get(metric)


def reference_of(values: Values, shard_samples: Sequence[Values]) -> Reference:
    """The reference of one metric out of all its values and the same values shard by shard."""
    ordered = np.sort(values)
    spread = shard_spread(shard_samples, ordered)
    if len(ordered) > _MAX_QUANTILES:
        points = (np.arange(_MAX_QUANTILES) + 0.5) / _MAX_QUANTILES
        ordered = np.asarray(np.quantile(ordered, points), dtype=np.float64)
    return Reference(ordered, float(values.mean()), len(values), spread)


def clip_values(clips: Sequence[ClipFinding], metric: str) -> Values:
    """One metric over clips as an array, missing ones left out."""
    column = [getattr(clip.scores, metric) for clip in clips]
    values = np.array([value for value in column if value is not None], dtype=np.float64)
    return values[np.isfinite(values)]


def by_shard(clips: Iterable[ClipFinding]) -> dict[str, list[ClipFinding]]:
    """Clips in lists by shard, shards in the order they first appear."""
    shards: dict[str, list[ClipFinding]] = {}
    for clip in clips:
        shards.setdefault(clip.shard, []).append(clip)
    return shards


def _group_references(clips: Sequence[ClipFinding]) -> dict[str, Reference]:
    shards = by_shard(clips)
    references = {}
    for metric in METRIC_NAMES:
        values = clip_values(clips, metric)
        if len(values):
            samples = [clip_values(members, metric) for members in shards.values()]
            references[metric] = reference_of(values, samples)
    return references


def references_of(clips: Sequence[ClipFinding]) -> dict[Group, dict[str, Reference]]:
    """References of the whole and of every corpus and language large enough to stand alone."""
    members: dict[Group, list[ClipFinding]] = {}
    for clip in clips:
        for group in {(clip.corpus, clip.language), (None, clip.language)} - {WHOLE}:
            members.setdefault(group, []).append(clip)
    groups = {WHOLE: _group_references(clips)}
    for group, group_clips in members.items():
        if len(group_clips) >= _MIN_GROUP_CLIPS:
            groups[group] = _group_references(group_clips)
    return groups


def make_baseline(findings: AuditFindings) -> Baseline:
    """The baseline that an audit of good data gives."""
    totals = total_counts(findings.tokens)
    perplexity = () if totals is None else tuple(map(float, 2.0 ** entropy_bits(totals)))
    return Baseline(
        label=findings.output,
        sim_model=findings.sim_model,
        checkpoint=str(findings.codec.get("checkpoint_sha256", "")),
        groups=references_of(findings.clips),
        perplexity=perplexity,
    )


def save_baseline(storage: Storage, baseline: Baseline, url: str) -> None:
    """Write a baseline as JSON."""
    groups = [
        {
            "corpus": corpus,
            "language": language,
            "metrics": {name: _plain(reference) for name, reference in references.items()},
        }
        for (corpus, language), references in baseline.groups.items()
    ]
    content = {
        "format": FORMAT,
        "label": baseline.label,
        "sim_model": baseline.sim_model,
        "checkpoint": baseline.checkpoint,
        "perplexity": list(baseline.perplexity),
        "groups": groups,
    }
    storage.write_finished(url, json.dumps(content, indent=1).encode())


def _plain(reference: Reference) -> dict[str, Any]:
    return {
        "mean": reference.mean,
        "num_clips": reference.num_clips,
        "shard_variance": reference.spread.variance,
        "num_shards": reference.spread.num_shards,
        "quantiles": [float(f"{value:.6g}") for value in reference.values],
    }


def load_baseline(storage: Storage, url: str) -> Baseline:
    """Read a baseline written by `save_baseline`."""
    try:
        content = json.loads(storage.read_bytes(url))
        if content["format"] != FORMAT:
            raise ValueError(f"its format is `{content['format']}`")
        groups = {
            (group["corpus"], group["language"]): {
                name: _reference(plain) for name, plain in group["metrics"].items()
            }
            for group in content["groups"]
        }
        return Baseline(
            label=content["label"],
            sim_model=content["sim_model"],
            checkpoint=content["checkpoint"],
            groups=groups,
            perplexity=tuple(content["perplexity"]),
        )
    except (PipelineError, OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"Baseline `{url}` cannot be read ({error}). "
            f"Expected a file of format `{FORMAT}`; make one with `xytok audit --save-baseline`"
        ) from error


def _reference(plain: Mapping[str, Any]) -> Reference:
    return Reference(
        values=np.array(plain["quantiles"], dtype=np.float64),
        mean=plain["mean"],
        num_clips=plain["num_clips"],
        spread=ShardSpread(plain["shard_variance"], plain["num_shards"]),
    )
