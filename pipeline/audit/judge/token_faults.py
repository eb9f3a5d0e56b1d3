"""Faults seen in the tokens of all rows, without decoding any of them."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.audit.findings import TokenReport
from pipeline.audit.judge.faults import fault
from pipeline.audit.judge.judgement import Fault
from pipeline.audit.judge.thresholds import DUPLICATE_SHARE, STUCK_SHARE
from pipeline.errors import plural

# A codebook that spends this share of a shard's frames on one entry says nothing any more.
_ZEROED_SHARE = 0.99
_MIN_FRAMES = 100


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
    rows = max(report.rows, 1)
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
