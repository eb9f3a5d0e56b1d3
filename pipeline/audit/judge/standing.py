"""Where the clips of a shard stand beside what they are compared with, by metric and together."""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from pipeline.audit.findings import TOGETHER
from pipeline.audit.judge.inference import Prediction, Sample, Spread, predict
from pipeline.audit.judge.reference import ClipColumns, Group, Reference, References, Together
from pipeline.audit.judge.together import normal_scores


@dataclass(frozen=True, slots=True)
class Standing:
    """One metric of some clips against their reference, by ranks and as it is read."""

    tested: Prediction
    plain: Prediction
    expected: float


class Standings:
    """The clips of an audit beside their references; every metric is ranked once a group."""

    def __init__(self, columns: ClipColumns, references: References) -> None:
        self.columns = columns
        self._references = references
        self.groups_of = {
            shard: columns.groups_of(rows) for shard, rows in columns.by_shard(columns.all_rows)
        }
        self._samples: dict[tuple[Group, str, int], dict[str, Sample]] = {}

    def standing(
        self, shard: str, metric: str, groups: Collection[Group] | None = None
    ) -> tuple[Standing | None, int]:
        """One metric of a shard's clips, each language against its own; and how many values.

        With `groups`, of the clips in these alone.
        """
        tested: list[tuple[Sample, Spread]] = []
        plain: list[tuple[Sample, Spread]] = []
        for group in self.groups_of[shard]:
            reference = self._reference(group, metric, shard, groups)
            if reference is not None:
                tested.append((self._ranked(group, metric, reference)[shard], reference.tested))
                plain.append((self._plain(group, metric)[shard], reference.plain))
        count = sum(sample.num_values for sample, _ in plain)
        if not count:
            return None, 0
        expected = sum(sample.num_values * spread.mean for sample, spread in plain) / count
        return Standing(predict(tested), predict(plain), expected), count

    def together(
        self, shard: str, groups: Collection[Group] | None = None
    ) -> tuple[Prediction | None, int]:
        """All metrics of a shard's clips as one score; and how many clips have it."""
        parts: list[tuple[Sample, Spread]] = []
        for group in self.groups_of[shard]:
            if groups is None or group in groups:
                reference = self._references.together(group, shard)
                if reference is not None and (sample := self._scored(group, reference).get(shard)):
                    parts.append((sample, reference.spread))
        count = sum(sample.num_values for sample, _ in parts)
        return (predict(parts) if parts else None), count

    def _reference(
        self, group: Group, metric: str, shard: str, groups: Collection[Group] | None
    ) -> Reference | None:
        if (groups is not None and group not in groups) or shard not in self._plain(group, metric):
            return None
        return self._references.reference(group, metric, shard)

    def _plain(self, group: Group, metric: str) -> dict[str, Sample]:
        asked = (group, metric, 0)
        if asked not in self._samples:
            rows = self.columns.members(group)
            self._samples[asked] = self.columns.samples(self.columns.column(metric, rows), rows)
        return self._samples[asked]

    def _ranked(self, group: Group, metric: str, reference: Reference) -> dict[str, Sample]:
        # Which group of the reference serves may change with the shard that is left out.
        asked = (group, metric, id(reference.values))
        if asked not in self._samples:
            rows = self.columns.members(group)
            values = self.columns.column(metric, rows)
            known = np.isfinite(values)
            values[known] = normal_scores(values[known], reference.values)
            self._samples[asked] = self.columns.samples(values, rows)
        return self._samples[asked]

    def _scored(self, group: Group, reference: Together) -> dict[str, Sample]:
        asked = (group, TOGETHER, id(reference.combination))
        if asked not in self._samples:
            rows = self.columns.members(group)
            names = reference.combination.weights
            columns = {name: self.columns.column(name, rows) for name in names}
            self._samples[asked] = self.columns.samples(reference.combination.scores(columns), rows)
        return self._samples[asked]
