"""The plan of epochs: all rows that fit, in what order, and cut so that every rank gets as many.

A piece is the rows of one row group that fit. Each source (an output) has its pieces in an order,
shuffled anew for every epoch; laid end to end they are a line of clips. Each rank gets an equal
length of the line, cut into windows. A window is read as a whole, so that its clips can be
shuffled; its clips come from as many row groups as lie in its length. Windows of one number have
the same size on every rank, whatever the number of loader workers that read them.
"""

import logging
import random
from array import array
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import accumulate
from typing import Any

from pipeline.corpus.where_check import WhereCheck
from pipeline.errors import InputError, UsageError
from pipeline.plural import plural
from pipeline.read.part_reader import codec_of, open_part, reading_part
from pipeline.read.row_filter import RowFilter
from pipeline.storage.client import Storage
from pipeline.storage.location import redact

logger = logging.getLogger(__name__)
_FRAMES = "num_frames"
_READERS = 16


@dataclass(frozen=True, slots=True)
class Piece:
    """The rows of a row group that fit: all, or those in `rows`; `frames` are their lengths."""

    url: str
    group: int
    count: int
    rows: "array[int] | None"
    frames: "array[int] | None"


@dataclass(frozen=True, slots=True)
class PieceFinder:
    """Looks at every row group of the parts once, before the first epoch.

    A part whose footer names another codec than that of the first is refused.

    Attributes:
        columns: what will be read of each clip.
        with_depth: whether codecs that differ in their number of codebooks are different ones.
        with_frames: whether batches need the length of each clip.
    """

    storage: Storage
    columns: tuple[str, ...]
    row_filter: RowFilter
    with_depth: bool
    with_frames: bool

    def find(self, sources: Sequence[Sequence[str]]) -> list[list[Piece]]:
        """The pieces of each source, in the order of its parts."""
        urls = [url for parts in sources for url in parts]
        pieces: dict[str, list[Piece]] = {}
        where = self.row_filter.where
        check = WhereCheck(where) if isinstance(where, str) else None
        reference = None
        with ThreadPoolExecutor(_READERS) as pool:
            look_at = partial(self._look_at, check=check)
            for url, (codec, found) in zip(urls, pool.map(look_at, urls), strict=True):
                reference = reference if pieces else codec
                self._check_codec(url, codec, reference)
                pieces[url] = found
        if check is not None:
            check.refuse_misfits("clips")
            if check.num_unfit:
                logger.warning("In %s %s", plural(check.num_unfit, "clip"), check.unfit_types())
        return [[piece for url in parts for piece in pieces[url]] for parts in sources]

    def _look_at(self, url: str, check: WhereCheck | None) -> tuple[str | None, list[Piece]]:
        """The codec that made a part, and its pieces."""
        with open_part(self.storage, url) as file:
            return codec_of(file, with_depth=self.with_depth), self._pieces(url, file, check)

    def _pieces(self, url: str, file: Any, check: WhereCheck | None) -> list[Piece]:
        looked_at = self._looked_at(url, file.schema_arrow.names)
        is_open = self.row_filter.is_open(url)
        if is_open and not self.with_frames:
            counts = [file.metadata.row_group(n).num_rows for n in range(file.num_row_groups)]
            return [Piece(url, n, rows, None, None) for n, rows in enumerate(counts) if rows]
        if check is not None:
            check.note_columns(file.schema_arrow.names)
        kept = self.row_filter.kept_rows(file, url)
        pieces, first_row = [], 0
        for number in range(file.num_row_groups):
            table = self._read(url, file, number, looked_at)
            rows = None if is_open else self.row_filter.rows(table, url, kept, first_row, check)
            piece = self._piece(url, number, table, rows)
            pieces += [piece] if piece.count else []
            first_row += table.num_rows
        return pieces

    def _piece(self, url: str, group: int, table: Any, rows: "array[int] | None") -> Piece:
        frames = None
        if self.with_frames:
            every = table.column(_FRAMES).to_pylist()
            frames = array("i", every if rows is None else [every[row] for row in rows])
        return Piece(url, group, table.num_rows if rows is None else len(rows), rows, frames)

    def _looked_at(self, url: str, known: Sequence[str]) -> list[str]:
        filtered = self.row_filter.columns(known, url)
        missing = sorted({*self.columns, *filtered} - set(known))
        if missing:
            raise UsageError(
                f"Part `{redact(url)}` has no column {', '.join(f'`{name}`' for name in missing)}; "
                f"expected some of {', '.join(known)}; ask for those"
            )
        wanted = [*filtered, *([_FRAMES] if self.with_frames else [])]
        # A keep list alone needs no column, but the number of rows.
        return wanted or ["key"]

    def _read(self, url: str, file: Any, group: int, columns: list[str]) -> Any:
        def read() -> Any:
            return file.read_row_group(group, columns=columns, use_threads=False)

        return reading_part(self.storage, url, read)

    def _check_codec(self, url: str, codec: str | None, expected: str | None) -> None:
        if None not in (codec, expected) and codec != expected:
            raise InputError(
                f"Part `{redact(url)}` was made with codec {codec}, the first part with "
                f"{expected}; expected one codec with the same options, because equal codes of two "
                "codecs are different sounds. Open each output by itself, or, where only the "
                "depth differs, pass `num_codebooks`"
            )


@dataclass(frozen=True, slots=True)
class Segment:
    """Rows `first` to `last` of a piece."""

    piece: Piece
    first: int
    last: int

    @property
    def frames(self) -> "array[int]":
        """The lengths of its clips."""
        assert self.piece.frames is not None
        return self.piece.frames[self.first : self.last]


# Pieces in an order, and where each ends.
_Line = tuple[list[Piece], list[int]]
# An epoch of a mix may end in another line than it begins.
_LINES_KEPT = 2


class Plan:
    """Which clips are in each window of each rank and epoch.

    Args:
        sources: the pieces of each source.
        weights: the share of each source in an epoch, which is as long as no clip comes twice in
            it; what is left of a source comes in the next epochs: its lines follow each other.
            Without them an epoch has every clip once, and a line of its own.
        world_size: how many ranks there are.
        window_clips: at most so many clips are in a window.
        seed: for the order of pieces; None keeps them as they are.
        repeat: where the clips cannot be divided by the ranks, some come twice; else up to
            `world_size - 1` are left out.
    """

    def __init__(
        self,
        sources: Sequence[Sequence[Piece]],
        weights: Sequence[float] | None,
        world_size: int,
        window_clips: int,
        seed: int | None,
        *,
        repeat: bool,
    ) -> None:
        self._sources = sources
        self._sizes = [sum(piece.count for piece in pieces) for pieces in sources]
        self._seed = seed
        self._world_size = world_size
        self._is_mixed = weights is not None
        shares = self._sizes if weights is None else _shares(self._sizes, weights)
        self._per_rank = [
            (share + (world_size - 1 if repeat else 0)) // world_size for share in shares
        ]
        self.clips_per_rank = sum(self._per_rank)
        self.num_windows = -(-self.clips_per_rank // window_clips)
        # The last lines of each source, by their numbers.
        self._lines: list[dict[int, _Line]] = [{} for _ in sources]

    def size(self, window: int) -> int:
        """How many clips a window has, on every rank."""
        return sum(last - first for first, last in self._ranges(window))

    def segments(self, epoch: int, rank: int, window: int) -> list[Segment]:
        """The clips of a window, in order."""
        return [
            segment
            for source, (first, last) in enumerate(self._ranges(window))
            for segment in self._cut(source, epoch, rank, first, last)
        ]

    def _ranges(self, window: int) -> list[tuple[int, int]]:
        count = self.num_windows
        return [(n * window // count, n * (window + 1) // count) for n in self._per_rank]

    def _cut(self, source: int, epoch: int, rank: int, first: int, last: int) -> Iterator[Segment]:
        share, size = self._per_rank[source], self._sizes[source]
        at, end = rank * share + first, rank * share + last
        while at < end:
            if self._is_mixed:
                order, start = divmod(epoch * share * self._world_size + at, size)
            else:
                order, start = epoch, at % size
            pieces, ends = self._line(source, order)
            number = bisect_right(ends, start)
            piece = pieces[number]
            skipped = start - (ends[number] - piece.count)
            taken = min(end - at, piece.count - skipped)
            yield Segment(piece, skipped, skipped + taken)
            at += taken

    def _line(self, source: int, number: int) -> _Line:
        """The pieces of a source in the order of its line of this number, and where each ends."""
        lines = self._lines[source]
        if number not in lines:
            # A line of a mix depends on the one before it.
            first = max((n + 1 for n in lines if n < number), default=0)
            before = lines.get(first - 1)
            for n in range(first if self._is_mixed else number, number + 1):
                pieces = self._ordered(source, n, before if self._is_mixed else None)
                before = pieces, list(accumulate(piece.count for piece in pieces))
            assert before is not None
            lines[number] = before
            if len(lines) > _LINES_KEPT:
                del lines[next(iter(lines))]
        return lines[number]

    def _ordered(self, source: int, number: int, before: _Line | None) -> list[Piece]:
        pieces = list(self._sources[source])
        if self._seed is None:
            return pieces
        shuffle = random.Random(f"{self._seed}/{source}/{number}").shuffle
        if before is None:
            shuffle(pieces)
            return pieces
        # An epoch that begins in the line before ends in this one: what it had comes last here.
        size, epoch_clips = self._sizes[source], self._per_rank[source] * self._world_size
        begun = size - number * size % epoch_clips
        fresh, cut, had = list[Piece](), list[Piece](), list[Piece]()
        for piece, end in zip(*before, strict=True):
            kind = fresh if end <= begun else cut if end - piece.count < begun else had
            kind.append(piece)
        shuffle(fresh)
        shuffle(had)
        return fresh + cut + had


def _shares(sizes: Sequence[int], weights: Sequence[float]) -> list[int]:
    """How many clips of each source an epoch has, so that none comes twice."""
    whole = sum(weights)
    shares = [weight / whole for weight in weights]
    clips = min(size / share for size, share in zip(sizes, shares, strict=True))
    return [min(size, round(clips * share)) for size, share in zip(sizes, shares, strict=True)]
