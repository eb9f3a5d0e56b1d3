"""The baseline: what this codec did to data known to be good, by language and corpus, as a file."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from pipeline.audit.codes.token_report import entropy_bits, total_counts
from pipeline.audit.findings import METRIC_NAMES, AuditFindings
from pipeline.audit.judge.inference import Spread
from pipeline.audit.judge.reference import (
    WHOLE,
    ClipColumns,
    Group,
    Reference,
    Together,
    pick_group,
    spoken,
)
from pipeline.audit.judge.together import Combination
from pipeline.errors import InputError, UsageError
from pipeline.storage.client import Storage

FORMAT = "xytok audit baseline 3"


@dataclass(frozen=True, slots=True)
class Baseline:
    """References by group and metric, and what they were measured with.

    `sampling` and `versions` are the sampling plan and the versions of what measured.
    """

    label: str
    sim_model: str
    asr_model: str
    checkpoint: str
    groups: Mapping[Group, Mapping[str, Reference]]
    all_metrics: Mapping[Group, Together] = field(default_factory=dict)
    perplexity: tuple[float, ...] = ()
    sampling: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)

    def reference(self, group: Group, metric: str, _without: str | None) -> Reference | None:
        """What clips of a group are compared with; None without enough shards of their language."""

        def num_shards(asked: Group) -> int:
            found = self.groups.get(asked, {}).get(metric)
            return found.tested.num_shards if found else 0

        picked = pick_group(group, num_shards)
        return None if picked is None else self.groups[picked][metric]

    def together(self, group: Group, _without: str | None) -> Together | None:
        """What the score of all metrics is compared with; None without enough shards."""

        def num_shards(asked: Group) -> int:
            found = self.all_metrics.get(asked)
            return found.spread.num_shards if found else 0

        picked = pick_group(group, num_shards)
        return None if picked is None else self.all_metrics[picked]

    def whole(self, metric: str) -> Reference | None:
        """A metric over all clips, whatever their language; for plots."""
        return self.groups.get(WHOLE, {}).get(metric)


def make_baseline(findings: AuditFindings) -> Baseline:
    """The baseline that an audit of good data gives."""
    totals = total_counts(findings.tokens)
    perplexity = () if totals is None else tuple(map(float, 2.0 ** entropy_bits(totals)))
    columns = ClipColumns(spoken(findings.drawn))
    groups = {
        group: {
            metric: found
            for metric in METRIC_NAMES
            if (found := columns.stored_reference(group, metric))
        }
        for group in columns.groups
    }
    return Baseline(
        label=findings.output,
        sim_model=findings.sim_model,
        asr_model=findings.asr_model,
        checkpoint=str(findings.codec.get("checkpoint_sha256", "")),
        groups=groups,
        all_metrics={group: joint for group in groups if (joint := columns.stored_together(group))},
        perplexity=perplexity,
        sampling=dict(findings.sampling),
        versions=dict(findings.versions),
    )


def save_baseline(storage: Storage, baseline: Baseline, url: str) -> None:
    """Write a baseline as JSON."""
    groups = [
        {
            "corpus": corpus,
            "language": language,
            "metrics": {name: _plain(reference) for name, reference in references.items()},
            "together": _together_plain(baseline.all_metrics.get((corpus, language))),
        }
        for (corpus, language), references in baseline.groups.items()
    ]
    content = {
        "format": FORMAT,
        "label": baseline.label,
        "sim_model": baseline.sim_model,
        "asr_model": baseline.asr_model,
        "checkpoint": baseline.checkpoint,
        "sampling": dict(baseline.sampling),
        "versions": dict(baseline.versions),
        "perplexity": list(baseline.perplexity),
        "groups": groups,
    }
    storage.write_finished(url, json.dumps(content, indent=1).encode())


def _plain(reference: Reference) -> dict[str, Any]:
    return {
        "tested": asdict(reference.tested),
        "plain": asdict(reference.plain),
        "num_clips": reference.num_clips,
        "quantiles": [float(f"{value:.6g}") for value in reference.values],
    }


def _together_plain(found: Together | None) -> dict[str, Any] | None:
    if found is None:
        return None
    return {
        "spread": asdict(found.spread),
        "weights": dict(found.combination.weights),
        "quantiles": {
            name: [float(f"{value:.6g}") for value in values]
            for name, values in found.combination.known.items()
        },
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
            asr_model=content["asr_model"],
            checkpoint=content["checkpoint"],
            groups=groups,
            all_metrics={
                (group["corpus"], group["language"]): _together(group["together"])
                for group in content["groups"]
                if group["together"]
            },
            perplexity=tuple(content["perplexity"]),
            sampling=content["sampling"],
            versions=content["versions"],
        )
    except (InputError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(
            f"`--baseline {url}` cannot be used ({error}); expected a file of format `{FORMAT}`. "
            "Make one with `xytok audit --save-baseline`, or leave the option out"
        ) from error


def _reference(plain: Mapping[str, Any]) -> Reference:
    return Reference(
        tested=Spread(**plain["tested"]),
        plain=Spread(**plain["plain"]),
        values=np.array(plain["quantiles"], dtype=np.float64),
        num_clips=plain["num_clips"],
    )


def _together(plain: Mapping[str, Any]) -> Together:
    known = {name: np.array(values, np.float64) for name, values in plain["quantiles"].items()}
    return Together(Combination(plain["weights"], known), Spread(**plain["spread"]))
