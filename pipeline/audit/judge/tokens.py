"""What is judged of all rows of a shard without decoding one: faults of rows, and bits a code.

A small model of the codes is trained on the run itself: how often each entry of each codebook
occurs, and for the first codebook how classes of entries follow each other in time. Both are counts
that add up over shards, so a shard is read by the model of all others. Codes of another codec cost
more bits, stuck ones lie apart on either side, and where frames are out of order, the one before
saves none.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from math import inf

import numpy as np
from numpy.typing import NDArray

from pipeline.audit.codes.token_report import TokenReport
from pipeline.audit.findings import CODE_BITS, ORDER_BITS, ClipFinding
from pipeline.audit.judge.faults import fault
from pipeline.audit.judge.inference import Interval, Sample, Spread, Values, predict
from pipeline.audit.judge.judgement import Change, Fault
from pipeline.audit.judge.thresholds import DUPLICATE_SHARE, STUCK_SHARE
from pipeline.plural import plural

# A codebook that spends this share of a shard's frames on one entry says nothing any more.
_ZEROED_SHARE = 0.99
_MIN_FRAMES = 100
Counts = NDArray[np.float64]
# What is seen of an entry that no other shard has.
_UNSEEN = 0.5
# From fewer frames the bits of a shard say more of its clips than of the shard.
_MIN_MODEL_FRAMES = 1000


def top_shares(report: TokenReport) -> NDArray[np.float64]:
    """Per codebook, the share of frames that use its most frequent entry."""
    totals = np.maximum(report.counts.sum(axis=1), 1)
    return np.asarray(report.counts.max(axis=1) / totals, dtype=np.float64)


def usual_top_shares(reports: Sequence[TokenReport]) -> NDArray[np.float64]:
    """The median of the top shares over shards: what this codec does on this run's speech."""
    shares = [top_shares(report) for report in reports if report.frames >= _MIN_FRAMES]
    return np.median(shares, axis=0) if shares else np.zeros(0)


def token_faults(report: TokenReport, usual: NDArray[np.float64]) -> tuple[Fault, ...]:
    """The faults of one shard's tokens, worst first; `usual` holds the run's usual top shares."""
    found = [*_row_faults(report), *_source_faults(report), *_zeroed(report, usual)]
    rows = max(report.kept_rows, 1)
    if report.stuck_rows / rows > STUCK_SHARE:
        found.append(
            fault(
                "stuck frames",
                f"{report.stuck_rows:,} of {plural(report.rows, 'row')} with one frame repeated"
                + _example(report, "stuck"),
                report.stuck_rows,
            )
        )
    duplicates = max(
        report.duplicate_key_rows, report.duplicate_audio_rows, report.duplicate_code_rows
    )
    if duplicates / rows > DUPLICATE_SHARE:
        evidence = (
            f"of {plural(report.rows, 'row')} {report.duplicate_audio_rows:,} with the audio of "
            f"another, {report.duplicate_code_rows:,} with its codes{_twin(report)}, "
            f"{report.duplicate_key_rows:,} with its key"
        )
        found.append(fault("duplicate clips", evidence, duplicates))
    return tuple(found)


def _row_faults(report: TokenReport) -> list[Fault]:
    found = []
    promised = report.manifest_rows
    problems = list(report.problems)
    if promised is not None and promised != report.rows:
        evidence = f"{plural(report.rows, 'row')} in the part, {promised:,} in the manifest"
        why = "; ".join([evidence, *problems])
        found.append(fault("missing rows", why, abs(promised - report.rows)))
    elif problems:
        found.append(fault("damaged shard", "; ".join(problems)))
    bad = report.bad_shape_rows + report.out_of_range_rows
    if bad:
        evidence = (
            f"{plural(report.bad_shape_rows, 'row')} of wrong shape, "
            f"{report.out_of_range_rows:,} with codes out of range"
            + _example(report, "bad_shape", "out_of_range")
        )
        found.append(fault("damaged codes", evidence, bad))
    if report.bad_length_rows:
        evidence = (
            f"{plural(report.bad_length_rows, 'row')} with frames that do not fit the samples"
        )
        evidence += _example(report, "bad_length")
        found.append(fault("wrong length", evidence, report.bad_length_rows))
    return found


def _example(report: TokenReport, *kinds: str) -> str:
    known = [example for example in report.examples if example.kind in kinds]
    return f", the first is `{known[0].key}` ({known[0].detail})" if known else ""


def _twin(report: TokenReport) -> str:
    return f" (some of it is in `{report.duplicates_of}` too)" if report.duplicates_of else ""


def _source_faults(report: TokenReport) -> list[Fault]:
    source = report.source
    if source.changes:
        # Rows and clips of two different tars do not balance: that is no second fault.
        return [fault("changed source", "; ".join(source.changes))]
    if not source.missing_clips:
        return []
    such = f", the first is `{source.first_missing}`" if source.first_missing else ""
    evidence = (
        f"{source.missing_clips:,} of {plural(source.clips or 0, 'clip')} of the tar without row "
        f"or reject, and not filtered{such}"
    )
    return [fault("missing rows", evidence, source.missing_clips)]


def _zeroed(report: TokenReport, usual: NDArray[np.float64]) -> list[Fault]:
    if report.frames < _MIN_FRAMES:
        return []
    constant = top_shares(report) > _ZEROED_SHARE
    if len(usual) == len(constant):
        constant &= usual <= _ZEROED_SHARE
    # All codebooks constant is what a shard of silence gives, and is judged by its audio.
    if not constant.any() or constant.all():
        return []
    books = ", ".join(str(book + 1) for book in np.flatnonzero(constant))
    return [fault("zeroed codebooks", f"codebook {books} uses one entry only", report.rows)]


def code_bits(reports: Sequence[TokenReport]) -> dict[str, dict[str, float]]:
    """Of each shard with enough frames, what its codes cost under the model of the others.

    `CODE_BITS` is the mean over all codebooks, each entry by itself; `ORDER_BITS` is what the class
    of the entry before saves of an entry of the first codebook.
    """
    usable = [report for report in reports if report.frames >= _MIN_MODEL_FRAMES]
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
