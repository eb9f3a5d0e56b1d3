"""Which rows of a run are exported, and into which split: a pure function of each row.

Only `--dedup` looks at more than one row; what it drops is found by `plan.py` and given here.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import xxhash
from numpy.typing import NDArray

from pipeline.corpus.where import parse_where
from pipeline.corpus.where_check import WhereCheck
from pipeline.errors import UsageError
from pipeline.export.keep_list import UNLISTED, KeptRows
from pipeline.export.source import ExportedRun, Group
from pipeline.read.row_filter import rows_of, where_columns
from pipeline.storage.client import Storage

# Why a row is left out, as negative numbers where splits are 0, 1, 2 and so on.
LEFT_OUT = {
    -1: "no_frames",
    -2: "no_text",
    -3: "where",
    -4: "not_kept",
    -5: "not_in_keep_list",
    -6: "same_audio",
    -7: "dropped",
    -8: "where_other_type",
}
_NO_FRAMES, _NO_TEXT, _WHERE, _NOT_KEPT, _NOT_LISTED, SAME_AUDIO, _DROPPED, _OTHER_TYPE = LEFT_OUT
ONLY_SPLIT = "train"
_HASH_RANGE = 1 << 64
# Row groups whose fields are looked at before an unknown field of `--where` is refused.
_GROUPS_TO_LOOK_AT = 5


@dataclass(frozen=True, slots=True)
class Selection:
    """Which rows become samples.

    Attributes:
        where: only clips that fit, in the words of `xytok tokenize --where`.
        keep: only rows that the keep list of an audit keeps, a Parquet file.
        dedup: of clips with equal bytes of audio only the first.
        split: shares by speaker, such as `train=0.99,dev=0.01`; each becomes a folder.
        allow_empty_split: go on where a split gets no clip, because there are few speakers.
    """

    where: str | None = None
    keep: str | None = None
    dedup: bool = False
    split: str | None = None
    allow_empty_split: bool = False

    def identity(self, keep_sha256: str | None) -> dict[str, Any]:
        """What the exported clips depend on."""
        chosen = asdict(replace(self, keep=keep_sha256))
        del chosen["allow_empty_split"]
        return chosen

    def splits(self) -> dict[str, float]:
        """The names and shares of the splits; a single one where none are asked for."""
        if self.split is None:
            return {ONLY_SPLIT: 1.0}
        pairs = [part.partition("=") for part in self.split.split(",")]
        try:
            shares = {name.strip(): float(share) for name, _, share in pairs}
        except ValueError:
            shares = {}
        named = all(name and name.replace("-", "").replace("_", "").isalnum() for name in shares)
        whole = abs(sum(shares.values()) - 1) < 1e-9 and min(shares.values(), default=0) > 0
        if not (named and whole and len(shares) == len(pairs)):
            raise UsageError(
                f"`--split {self.split}` cannot be used; expected different names with shares "
                "above 0 that sum to 1; write for example `--split train=0.99,dev=0.01`"
            )
        return shares


class Chooser:
    """Decides for the rows of a row group; made once in each process."""

    def __init__(
        self, selection: Selection, run: ExportedRun, storage: Storage, *, needs_text: bool
    ) -> None:
        self._run = run
        self._needs_text = needs_text
        self._shares = selection.splits()
        self._where = parse_where(selection.where) if selection.where else None
        self._check = WhereCheck(selection.where) if selection.where else None
        self._expression = selection.where
        self._keep = KeptRows(storage, selection.keep, run.parts) if selection.keep else None
        self._has_splits = len(self._shares) > 1

    def columns(self, known: list[str]) -> list[str]:
        """What `choose` must see of a row, of the columns that are known."""
        wanted = {"key", "num_frames"}
        wanted |= {"text"} if self._needs_text else set()
        wanted |= {"speaker"} if self._has_splits else set()
        wanted |= set(where_columns(self._expression, known)) if self._expression else set()
        return [name for name in known if name in wanted]

    def choose(self, table: Any, group: Group, same_audio: NDArray[np.int64]) -> NDArray[np.int16]:
        """For each row the number of its split, or why it is left out.

        Args:
            same_audio: the rows, counted over all parts, whose audio an earlier row has.
        """
        part = self._run.parts[group.part]
        fate = self._splits_of(table, part.shard)
        first = part.first_row + group.first_row
        start, end = np.searchsorted(same_audio, [first, first + group.rows])
        fate[same_audio[start:end] - first] = SAME_AUDIO
        if self._keep:
            keep = self._keep.of_group(part, group, table["key"].to_pylist())
            fate[keep == 0] = _NOT_KEPT
            fate[keep == UNLISTED] = _NOT_LISTED
        if self._where and self._check:
            for place, fields in enumerate(rows_of(table)):
                has_types = self._check.look_at(fields)
                if not self._where(fields):
                    fate[place] = _WHERE if has_types else _OTHER_TYPE
        if self._needs_text:
            texts = table["text"].to_pylist()
            empty = np.fromiter((not (t and t.strip()) for t in texts), np.bool_, len(texts))
            fate[empty] = _NO_TEXT
        fate[table["num_frames"].to_numpy() == 0] = _NO_FRAMES
        out = self._run.dropped.keys_of(part.path)
        if out:
            keys = table["key"].to_pylist()
            fate[np.fromiter((key in out for key in keys), np.bool_, len(keys))] = _DROPPED
        return fate

    def _splits_of(self, table: Any, shard: str) -> NDArray[np.int16]:
        if not self._has_splits:
            return np.zeros(table.num_rows, np.int16)
        bounds = np.cumsum(list(self._shares.values()))[:-1]
        both = zip(table["speaker"].to_pylist(), table["key"].to_pylist(), strict=True)
        # A clip without a speaker is a speaker of its own.
        names = (speaker or f"{shard}/{key}" for speaker, key in both)
        places = [xxhash.xxh64_intdigest(name.encode()) / _HASH_RANGE for name in names]
        return np.searchsorted(bounds, places, side="right").astype(np.int16)

    def unfit_types(self) -> str:
        """Why rows are left out as `where_other_type`, of all that were looked at."""
        return self._check.unfit_types() if self._check else ""


def check_where(where: str, tables: Iterator[Any]) -> None:
    """Raise when no row of a few row groups has what the filter compares."""
    check = WhereCheck(where)
    for _, table in zip(range(_GROUPS_TO_LOOK_AT), tables, strict=False):
        for fields in rows_of(table):
            check.look_at(fields)
        if check.is_sure:
            return
    check.refuse_misfits("clips")
