"""How well the codes of a shard follow from those of the others, by a small model of them.

The model is trained on the run itself: how often each entry of each codebook occurs, and for the
first codebook how classes of entries follow each other in time. Both are counts that add up over
shards, so a shard is read by the model of all others. Codes of another codec cost more bits,
stuck ones lie apart on either side, and where frames are out of order, the one before saves none.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from math import inf

import numpy as np
from numpy.typing import NDArray

from pipeline.audit.findings import CODE_BITS, ORDER_BITS, ClipFinding, TokenReport
from pipeline.audit.judge.inference import Interval, Sample, Spread, Values, predict
from pipeline.audit.judge.judgement import Change

Counts = NDArray[np.float64]
# What is seen of an entry that no other shard has.
_UNSEEN = 0.5
# From fewer frames the bits of a shard say more of its clips than of the shard.
_MIN_FRAMES = 1000


def code_bits(reports: Sequence[TokenReport]) -> dict[str, dict[str, float]]:
    """Of each shard with enough frames, what its codes cost under the model of the others.

    `CODE_BITS` is the mean over all codebooks, each entry by itself; `ORDER_BITS` is what the class
    of the entry before saves of an entry of the first codebook.
    """
    usable = [report for report in reports if report.frames >= _MIN_FRAMES]
    if len(usable) < 2:
        return {}
    entries = np.sum([report.counts for report in usable], axis=0, dtype=np.float64)
    steps = np.sum([report.class_steps for report in usable], axis=0, dtype=np.float64)
    return {
        report.shard: {
            CODE_BITS: _entry_bits(report, entries - report.counts),
            ORDER_BITS: _saved_bits(report.class_steps, steps - report.class_steps),
        }
        for report in usable
    }


def _entry_bits(report: TokenReport, others: Counts) -> float:
    spent = sum(
        float(report.counts[book, :size] @ _bits(others[book, :size]))
        for book, size in enumerate(report.codebook_sizes)
    )
    return spent / (report.frames * len(report.codebook_sizes))


def _saved_bits(own: NDArray[np.integer], others: Counts) -> float:
    saved = _bits(others.sum(axis=0)) - _bits(others)
    return float((own * saved).sum() / max(int(own.sum()), 1))


def _bits(counts: Counts) -> Counts:
    """What each entry costs under a model of counts, `[..., entries]`."""
    seen = counts + _UNSEEN
    return np.asarray(np.log2(seen.sum(axis=-1, keepdims=True)) - np.log2(seen), dtype=np.float64)


def code_changes(
    reports: Sequence[TokenReport], clips: Mapping[str, Sequence[ClipFinding]]
) -> dict[str, dict[str, Change]]:
    """The bits of every shard against those of other shards of its language."""
    bits = code_bits(reports)
    languages: dict[str | None, list[str]] = {}
    for shard in bits:
        languages.setdefault(_language(clips.get(shard, ())), []).append(shard)
    found: dict[str, dict[str, Change]] = {shard: {} for shard in bits}
    for shards in languages.values():
        for name in (CODE_BITS, ORDER_BITS):
            values = np.array([bits[shard][name] for shard in shards])
            for shard, value, spread in zip(shards, values, _without_each(values), strict=True):
                found[shard][name] = _change(name, float(value), spread)
    return found


def _without_each(values: Values) -> Iterator[Spread]:
    """How the others lie, one value left out after the other."""
    count = len(values) - 1
    apart = values - values.mean()
    means = -apart / max(count, 1)
    squares = np.maximum(np.square(apart).sum() - apart**2 - count * means**2, 0.0)
    for mean, square in zip(values.mean() + means, squares / max(count - 1, 1), strict=True):
        yield Spread(count, float(mean), float(square), 0.0, 0.0)


def _change(name: str, own: float, spread: Spread) -> Change:
    mean = Interval(own, -inf, inf, 1)
    if not spread.is_known:
        return Change(name, mean, unjudged="fewer than 3 shards to compare with")
    found = predict([(Sample(own, 0.0, 1, 1.0), spread)])
    return Change(
        name,
        mean,
        reference_mean=spread.mean,
        num_reference_shards=spread.num_shards,
        difference=found.interval(1),
        worse_by=abs(found.difference),
        p_value=min(1.0, 2 * min(found.p_higher, found.p_lower)),
        tested=found,
    )


def _language(clips: Sequence[ClipFinding]) -> str | None:
    """The language of most clips of a shard."""
    found = Counter(clip.language for clip in clips).most_common(1)
    return found[0][0] if found else None
