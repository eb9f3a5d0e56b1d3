"""Every row of a part, checked without decoding it, and the part against its manifest.

A part is read as bytes, which proves its checksum, then checked row group by row group.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.audit.codes.part_file import (
    DAMAGED,
    NUM_CLASSES,
    Integers,
    PartFile,
    no_counts,
    read_codes,
)
from pipeline.audit.codes.token_report import SourceReport, TokenFault, TokenReport
from pipeline.output.manifest import Manifest
from pipeline.plural import plural
from xy_codec.codes_shape import CodesShape

# One frame for so long: speech never does that, a crashed writer or a dead channel does.
STUCK_SECONDS = 2.0
# Clips shorter than this may have the same codes by chance.
TOLD_SECONDS = 1.0
_EXAMPLES = 5
_COLUMNS = ("key", "codes", "num_frames", "num_samples", "sample_rate", "audio_xxh64")


@dataclass(frozen=True, slots=True)
class CheckedPart:
    """A report, and the hashes of audio and of codes, to find duplicates across shards."""

    report: TokenReport
    hashes: NDArray[np.uint64]
    code_hashes: NDArray[np.uint64]


@dataclass(slots=True)
class _Tally:
    """Running totals over the batches of one part."""

    shape: CodesShape
    counts: Integers
    class_steps: Integers
    dropped: frozenset[str] = frozenset()
    rows: int = 0
    dropped_rows: int = 0
    frames: int = 0
    repeated: int = 0
    found: dict[str, int] = field(default_factory=dict)
    flagged: dict[str, list[int]] = field(default_factory=dict)
    examples: list[TokenFault] = field(default_factory=list)
    keys: list[Any] = field(default_factory=list)
    hashes: list[NDArray[np.uint64]] = field(default_factory=list)
    code_hashes: list[NDArray[np.uint64]] = field(default_factory=list)

    def add(self, batch: Any) -> None:
        """Check one record batch."""
        num_frames = np.asarray(batch.column("num_frames"), dtype=np.int64)
        samples = np.asarray(batch.column("num_samples"), dtype=np.int64)
        rates = np.asarray(batch.column("sample_rate"), dtype=np.int64)
        codes = read_codes(batch.column("codes"), num_frames, self.shape)
        longest = codes.longest_repeats()
        kept = self._kept(batch)
        self._note(batch, "bad_shape", kept & ~codes.well_shaped, num_frames)
        wanted = _frames_of(samples, rates, self.shape)
        self._note(batch, "bad_length", kept & (num_frames != wanted), samples)
        outside = codes.out_of_range(self.shape)
        self._note(batch, "out_of_range", kept & outside, num_frames)
        stuck = longest >= self.shape.frames_in(STUCK_SECONDS)
        self._note(batch, "stuck", kept & stuck, longest)
        self.counts += codes.count_values(self.shape)
        self.class_steps += codes.count_class_steps()
        self.repeated += int(codes.repeats().sum())
        self.rows += batch.num_rows
        self.frames += codes.codes.shape[1]
        self.dropped_rows += int((~kept).sum())
        self.keys.append(batch.column("key").filter(pa.array(kept)))
        self.hashes.append(np.asarray(batch.column("audio_xxh64"), dtype=np.uint64)[kept])
        # Codes of silence, and of hardly any audio, are the same in clips that are not.
        told = (2 * longest < num_frames) & (num_frames >= self.shape.frames_in(TOLD_SECONDS))
        told &= kept
        self.code_hashes.append(codes.hashes[told[codes.well_shaped]])

    def _kept(self, batch: Any) -> NDArray[np.bool_]:
        """The rows that nobody took out of the output; only they can be at fault."""
        if not self.dropped:
            return np.ones(batch.num_rows, np.bool_)
        keys = batch.column("key").to_pylist()
        return np.fromiter((key not in self.dropped for key in keys), np.bool_, len(keys))

    def _note(self, batch: Any, kind: str, bad: NDArray[np.bool_], values: Integers) -> None:
        self.found[kind] = self.found.get(kind, 0) + int(bad.sum())
        keys = batch.column("key")
        if bad.any():
            rows = (self.rows + np.flatnonzero(bad)).tolist()
            self.flagged.setdefault(kind, []).extend(rows)
        for row in np.flatnonzero(bad)[: max(_EXAMPLES - len(self.examples), 0)]:
            self.examples.append(TokenFault(kind, str(keys[int(row)]), _DETAILS[kind](values[row])))

    def duplicate_keys(self) -> int:
        """Rows whose key another row before them has."""
        keys = pa.chunked_array(self.keys, pa.string())
        return len(keys) - len(keys.unique())


def _frames_of(num_samples: Integers, sample_rate: Integers, shape: CodesShape) -> Integers:
    """Frames that clips of so many source samples have after resampling."""
    resampled = -(-num_samples * shape.input_rate_hz // np.maximum(sample_rate, 1))
    return shape.num_frames(resampled)


_DETAILS = {
    "bad_shape": lambda value: f"num_frames says {value}, the lists of codes say otherwise",
    "bad_length": lambda value: f"{value} samples of the source do not give that many frames",
    "out_of_range": lambda value: f"a code among {value} frames is outside the codebook",
    "stuck": lambda value: f"one frame is repeated {value} times",
}


def check_part(
    part: PartFile | None,
    manifest: Manifest,
    shape: CodesShape,
    problems: Sequence[str] = (),
    source: SourceReport | None = None,
    dropped: frozenset[str] = frozenset(),
) -> CheckedPart:
    """Check all rows of one shard's part.

    Args:
        part: None where it cannot be read at all; `problems` then says why.
        problems: faults of the shard that are known already.
        source: what is known of its tar.
        dropped: the keys of rows that were taken out of the output.
    """
    started = time.perf_counter()
    steps = np.zeros((NUM_CLASSES, NUM_CLASSES), np.int64)
    tally = _Tally(shape, no_counts(shape), steps, dropped)
    problems = [*problems, *_manifest_problems(manifest)]
    if part is not None:
        problems += _read(part, manifest, tally)
    report = TokenReport(
        shard=manifest.shard,
        rows=tally.rows,
        frames=tally.frames,
        manifest_rows=manifest.codes,
        rejects=manifest.rejects,
        members_seen=manifest.clips_seen,
        bad_shape_rows=tally.found.get("bad_shape", 0),
        bad_length_rows=tally.found.get("bad_length", 0),
        out_of_range_rows=tally.found.get("out_of_range", 0),
        stuck_rows=tally.found.get("stuck", 0),
        repeated_frames=tally.repeated,
        duplicate_key_rows=tally.duplicate_keys(),
        duplicate_audio_rows=0,
        duplicate_code_rows=0,
        codebook_sizes=shape.codebook_sizes,
        counts=_narrow(tally.counts),
        class_steps=_narrow(tally.class_steps),
        problems=tuple(problems),
        examples=tuple(tally.examples),
        flagged={kind: tuple(rows) for kind, rows in tally.flagged.items()},
        seconds=time.perf_counter() - started,
        source=source or SourceReport(),
        dropped_rows=tally.dropped_rows,
    )
    none = np.zeros(0, dtype=np.uint64)
    return CheckedPart(
        report, np.concatenate([none, *tally.hashes]), np.concatenate([none, *tally.code_hashes])
    )


def _narrow(counts: Integers) -> NDArray[Any]:
    """A run has a hundred thousand shards: what fits into two bytes shall not take eight."""
    return counts.astype(np.min_scalar_type(int(counts.max(initial=0))))


def with_duplicates(parts: Sequence[CheckedPart]) -> list[TokenReport]:
    """The reports with audio and codes that occurred before, here or in an earlier shard, counted.

    Equal bytes of audio have equal codes; equal codes of other bytes are the same recording in
    another container, cut or copied.
    """
    audio, audio_in = _repeats([part.hashes for part in parts])
    codes, codes_in = _repeats([part.code_hashes for part in parts])
    elsewhere = {**codes_in, **audio_in}
    return [
        replace(
            part.report,
            duplicate_audio_rows=audio[number],
            duplicate_code_rows=codes[number],
            duplicates_of=parts[elsewhere[number]].report.shard if number in elsewhere else None,
        )
        for number, part in enumerate(parts)
    ]


def _repeats(hashes: Sequence[NDArray[np.uint64]]) -> tuple[list[int], dict[int, int]]:
    """How many hashes of each list occur before, and for some lists another that has them."""
    if not hashes:
        return [], {}
    values = np.concatenate(hashes)
    owners = np.repeat(np.arange(len(hashes)), [len(each) for each in hashes])
    order = np.argsort(values, kind="stable")
    again = np.concatenate([[False], values[order][1:] == values[order][:-1]])
    places = np.flatnonzero(again[: len(order)])
    mine, before = owners[order][places], owners[order][places - 1]
    elsewhere = {
        int(own): int(other) for own, other in zip(mine, before, strict=True) if own != other
    }
    return np.bincount(mine, minlength=len(hashes)).tolist(), elsewhere


def _read(part: PartFile, manifest: Manifest, tally: _Tally) -> list[str]:
    """Tally the part, and say what keeps it from being read or trusted."""
    problems = []
    if part.sha256 != manifest.part.sha256:
        problems.append(
            f"the part is not the file of its manifest ({part.size_bytes:,} bytes, expected "
            f"{manifest.part.size_bytes:,} with another checksum)"
        )
    try:
        for batch in part.batches(_COLUMNS):
            tally.add(batch)
    except DAMAGED as error:
        problems.append(f"the part cannot be read after row {tally.rows:,}: {error}")
    return problems


def _manifest_problems(manifest: Manifest) -> list[str]:
    problems = []
    accounted = manifest.codes + manifest.rejects + manifest.filtered
    if manifest.clips_seen != accounted:
        problems.append(
            f"the manifest accounts for {accounted:,} of {plural(manifest.clips_seen, 'clip')} of "
            "the tar"
        )
    if manifest.is_damaged:
        lost = sum(hole.size_bytes for hole in manifest.holes)
        problems.append(
            f"the tar had {plural(len(manifest.holes), 'unreadable place')}, "
            f"{plural(lost, 'byte')} in all"
        )
    return problems
