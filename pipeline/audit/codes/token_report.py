"""What is known of one shard's tokens without decoding them, and of the source behind them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class TokenFault:
    """One example of a fault found in the tokens; `TokenReport` counts them all."""

    kind: str
    key: str
    detail: str


@dataclass(frozen=True, slots=True)
class SourceReport:
    """The tar behind a part as it is now.

    `changes` are sentences, each a difference from what was tokenized. `is_touched` says that only
    etag or modification time differ. `clips` is None where the tar was not listed; `missing_clips`
    are in it and are neither row nor reject nor filtered. `unlisted` is why listing it failed,
    `unread` why it could not even be looked at.
    """

    changes: tuple[str, ...] = ()
    is_touched: bool = False
    clips: int | None = None
    missing_clips: int = 0
    first_missing: str | None = None
    unlisted: str | None = None
    unread: str | None = None
    size_bytes: int | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class TokenReport:
    """All rows of one shard's part, checked without decoding a single one.

    `counts` is `[K, largest size]`; usage, entropy and perplexity per codebook follow from it and
    add up over shards (`sum of counts`), as `class_steps` do, which count how classes of entries of
    the first codebook follow each other. Row counts name rows with at least one such fault.
    `problems` are faults of the shard as a whole (rows against manifest, damaged source, part that
    does not match its checksum), each one sentence; empty is good. `duplicates_of` is another shard
    that has some of what is repeated. `flagged` holds the rows with a fault, by its kind.
    `dropped_rows` of the `rows` were taken out of the output, and are at no fault.
    """

    shard: str
    rows: int
    frames: int
    manifest_rows: int | None
    rejects: int | None
    members_seen: int | None
    bad_shape_rows: int
    bad_length_rows: int
    out_of_range_rows: int
    stuck_rows: int
    repeated_frames: int
    duplicate_key_rows: int
    duplicate_audio_rows: int
    duplicate_code_rows: int
    counts: NDArray[np.integer[Any]]
    class_steps: NDArray[np.integer[Any]]
    codebook_sizes: tuple[int, ...]
    problems: tuple[str, ...] = ()
    examples: tuple[TokenFault, ...] = ()
    duplicates_of: str | None = None
    flagged: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    seconds: float = 0.0
    source: SourceReport = field(default_factory=SourceReport)
    dropped_rows: int = 0

    @property
    def kept_rows(self) -> int:
        """The rows that are still in the output."""
        return self.rows - self.dropped_rows

    @property
    def usage(self) -> NDArray[np.float64]:
        """Share of each codebook's entries that occur, `[K]`."""
        return np.asarray((self.counts > 0).sum(axis=1) / self.codebook_sizes, dtype=np.float64)

    @property
    def entropy_bits(self) -> NDArray[np.float64]:
        """Entropy of each codebook in bits, `[K]`; 0 for an empty shard."""
        return entropy_bits(self.counts)

    @property
    def perplexity(self) -> NDArray[np.float64]:
        """Two to the entropy, `[K]`."""
        return np.asarray(2.0**self.entropy_bits, dtype=np.float64)


def total_counts(reports: Sequence[TokenReport]) -> NDArray[np.int64] | None:
    """How often each entry of each codebook occurs in all shards; None where none has frames."""
    total: NDArray[np.int64] | None = None
    for report in reports:
        if report.frames:
            counts = report.counts.astype(np.int64)
            total = counts if total is None else total + counts
    return total


def entropy_bits(counts: NDArray[np.integer[Any]]) -> NDArray[np.float64]:
    """Entropy per row of a table of counts."""
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    return np.asarray(
        -(share * np.log2(np.where(share > 0, share, 1.0))).sum(axis=1), dtype=np.float64
    )
