"""Shards of an export and the samples in them: as planned, each by itself, or in another order.

Shards of an unshuffled export do not depend on each other: `ShardExporter` writes any of them by
itself, here or in a task of a cluster. A shuffled export goes through this machine's disk
(`shuffle.py`).
"""

from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any

import numpy as np

from pipeline.export.contract import (
    Sample,
    ShardFiles,
)
from pipeline.export.exporter import Exporter
from pipeline.export.plan import Cutter, Plan, PlannedShard
from pipeline.export.samples import read_chosen, samples_of
from pipeline.export.shuffle import Spool, shuffled_places


class ShardExporter:
    """Writes planned shards, each by itself."""

    def __init__(self, exporter: Exporter, plan: Plan) -> None:
        self._exporter = exporter
        self._plan = plan

    def write(self, shard: PlannedShard) -> int:
        """Write one shard; how many samples it has."""
        write_shard(self._exporter, shard.split, shard.number, self._samples(shard))
        return shard.samples

    def _samples(self, shard: PlannedShard) -> Iterator[Sample]:
        exporter, left, skip = self._exporter, shard.samples, shard.skip
        for table in chosen_tables(exporter, self._plan, shard.split, shard.group):
            part = table.slice(skip, left)
            yield from samples_of(part, exporter.rules)
            left, skip = left - part.num_rows, 0
            if not left:
                return


def chosen_tables(
    exporter: Exporter, plan: Plan, split: int, first_group: int = 0
) -> Iterator[Any]:
    """The rows of a split as tables, a row group at a time."""
    known = exporter.reader.columns().names
    light = exporter.chooser.columns(known)
    for group in plan.groups[first_group:]:
        fate = exporter.chooser.choose(exporter.reader.read(group, light), group, plan.same_audio)
        rows = np.flatnonzero(fate == split)
        yield read_chosen(exporter.reader, exporter.run, group, rows, exporter.rules)


def write_shard(exporter: Exporter, split: int, number: int, samples: Iterable[Sample]) -> None:
    """Write the files of one output shard and mark it as done."""
    files, count = ShardFiles(number, exporter.splits[split]), _Counted(samples)
    try:
        exporter.format.write_shard(count, files)
        exporter.destination.publish(split, files, count.samples, count.seconds)
    finally:
        files.close()


class _Counted:
    """Samples that are counted while a format takes them."""

    def __init__(self, samples: Iterable[Sample]) -> None:
        self._samples = samples
        self.samples = 0
        self.seconds = 0.0

    def __iter__(self) -> Iterator[Sample]:
        for sample in self._samples:
            self.samples += 1
            self.seconds += sample.duration
            yield sample


def write_reordered(exporter: Exporter, plan: Plan, done: set[tuple[int, int]]) -> Iterator[int]:
    """The same in another order; what is done is read again, but not written again."""
    seed = exporter.request.shuffle
    places = plan.places_of if seed is None else partial(shuffled_places, seed=seed)
    with Spool(places, plan.size_bytes) as spool:
        for split in sorted(plan.counts):
            for table in chosen_tables(exporter, plan, split):
                spool.add(split, table)
        for split in sorted(plan.counts):
            tables = spool.read(split)
            samples = (each for table in tables for each in samples_of(table, exporter.rules))
            for number, shard in enumerate(_cut(samples, exporter)):
                if (split, number) in done:
                    yield sum(1 for _ in shard)
                else:
                    counted = _Counted(shard)
                    write_shard(exporter, split, number, counted)
                    yield counted.samples


def _cut(samples: Iterator[Sample], exporter: Exporter) -> Iterator[Iterator[Sample]]:
    """Samples in shards; each must be taken whole before the next is asked for."""
    cutter = Cutter(exporter.limits)
    ahead = next(samples, None)
    if ahead is not None:
        cutter.begins(_size(ahead, exporter))

    def one_shard() -> Iterator[Sample]:
        nonlocal ahead
        while ahead is not None:
            current, ahead = ahead, next(samples, None)
            is_last = ahead is None or cutter.begins(_size(ahead, exporter))
            yield current
            if is_last:
                return

    while ahead is not None:
        yield one_shard()


def _size(sample: Sample, exporter: Exporter) -> int:
    text_bytes = len((sample.text or "").encode())
    return exporter.format.sample_bytes(sample.codes.shape[1], text_bytes)
