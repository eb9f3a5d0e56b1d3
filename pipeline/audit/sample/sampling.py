"""Which clips an audit looks at: the same ones every time, by a hash of key and seed."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, get_args

import numpy as np
import pydantic.dataclasses
import xxhash
from numpy.typing import NDArray
from pydantic import Field

from pipeline.audit.findings import ClipFacts
from pipeline.output.manifest import Manifest
from pipeline.output.schema import SIDE
from xy_codec.contract import Codes, Encoded, Side

Stratum = Literal["language", "speaker", "dnsmos"]
STRATA: tuple[str, ...] = get_args(Stratum)
_RANGE = 2.0**64


@pydantic.dataclasses.dataclass(frozen=True, slots=True)
class SamplePlan:
    """How many clips of each shard, and by what they are spread.

    Attributes:
        per_shard: so many clips of every shard; 20 are enough to judge one.
        fraction: this share of the clips of every shard, instead of a number.
        stratify: take clips of every language, speaker or DNSMOS band in turn.
        seed: another seed gives another sample.
    """

    per_shard: Annotated[int, Field(ge=1)] = 20
    fraction: Annotated[float, Field(gt=0, le=1)] | None = None
    stratify: Stratum | None = None
    seed: int = 0


@dataclass(frozen=True, slots=True)
class SampledClip(ClipFacts):
    """One row of a part with its codes, and what its original in the tar at `url` must be."""

    url: str
    encoded: Encoded
    audio_xxh64: int


def ranks(keys: list[str], shard: str, seed: int) -> NDArray[np.uint64]:
    """A number per clip that looks random, and is the same whenever and wherever it is asked."""
    salt = f"{seed}\n{shard}\n"
    hashes = (xxhash.xxh64_intdigest((salt + key).encode()) for key in keys)
    return np.fromiter(hashes, dtype=np.uint64, count=len(keys))


def choose_rows(
    table: Any, shard: str, plan: SamplePlan, dropped: Collection[str] = ()
) -> list[int]:
    """The rows of a part to look at, in order, but those with a dropped key.

    With strata, rows are taken from each stratum in turn, so that a rare one is seen as well;
    `row_weights` says for how many others each stands.
    """
    if table.num_rows == 0:
        return []
    keys = table.column("key").to_pylist()
    rank = ranks(keys, shard, plan.seed)
    wanted = plan.per_shard
    if plan.fraction is not None:
        wanted = max(int((rank < plan.fraction * _RANGE).sum()), 1)
    order = np.argsort(rank, kind="stable")
    if dropped:
        order = order[[keys[row] not in dropped for row in order]]
    if plan.stratify is not None:
        order = _in_turns(order, _strata(table, plan.stratify))
    return sorted(order[:wanted].tolist())


def row_weights(
    table: Any, shard: str, rows: Sequence[int], plan: SamplePlan, dropped: Collection[str] = ()
) -> dict[int, float]:
    """How many rows each chosen row stands for; 1 on average.

    With these weights the mean of a sample is as likely above as below that of its shard. Where
    there are more strata than clips, a chosen stratum stands for some that are not: it is there
    because one of its rows came before the first row of those, and the more rows it has, the
    likelier that is.
    """
    if plan.stratify is None or not rows:
        return dict.fromkeys(rows, 1.0)
    strata, keys = _strata(table, plan.stratify), table.column("key").to_pylist()
    chosen = Counter(strata[row] for row in rows)
    there: Counter[str] = Counter()
    first_left = 1.0
    for stratum, key, rank in zip(strata, keys, ranks(keys, shard, plan.seed), strict=True):
        if key in dropped:
            continue
        there[stratum] += 1
        if stratum not in chosen:
            first_left = min(first_left, float(rank) / _RANGE)
    chance = {stratum: 1 - (1 - first_left) ** there[stratum] for stratum in chosen}
    stand_for = {
        row: there[strata[row]] / (chosen[strata[row]] * chance[strata[row]]) for row in rows
    }
    mean = sum(stand_for.values()) / len(rows)
    return {row: count / mean for row, count in stand_for.items()}


def _in_turns(order: NDArray[np.int64], strata: list[str]) -> NDArray[np.int64]:
    """The first row of every stratum, then the second of every stratum, and so on."""
    seen: dict[str, int] = {}
    turns = np.empty(len(order), dtype=np.int64)
    for place, row in enumerate(order):
        turns[place] = seen[strata[row]] = seen.get(strata[row], -1) + 1
    return order[np.argsort(turns, kind="stable")]


def _strata(table: Any, column: Stratum) -> list[str]:
    values = table.column(column).to_pylist()
    if column == "dnsmos":
        return [dnsmos_band(value) or "none" for value in values]
    return [str(value) for value in values]


def sampled_clips(
    table: Any,
    codes: Mapping[int, Codes],
    manifest: Manifest,
    url: str,
    weights: Mapping[int, float] | None = None,
) -> list[SampledClip]:
    """The chosen rows as clips; `codes` decides which, `weights` which of them chance drew."""
    rows = sorted(codes)
    picked = table.take(rows).to_pylist()
    return [
        SampledClip(
            shard=manifest.shard,
            url=url,
            row=row,
            key=values["key"],
            encoded=Encoded(codes[row], _side(values)),
            corpus=corpus_of(manifest.shard),
            language=values["language"],
            speaker=values["speaker"],
            source_dnsmos=values["dnsmos"],
            text=values["text"],
            duration=values["duration"],
            num_frames=values["num_frames"],
            tar_offset=values["tar_offset"],
            tar_size=values["tar_size"],
            drawn=weights is None or row in weights,
            weight=1.0 if weights is None else weights.get(row, 0.0),
            audio_xxh64=values["audio_xxh64"],
        )
        for row, values in zip(rows, picked, strict=True)
    ]


def _side(values: Mapping[str, Any]) -> Side | None:
    """The side values in a row, where its codec has some."""
    return np.array(values[SIDE], np.float32) if SIDE in values else None


def dnsmos_band(value: float | None) -> str | None:
    """The half point of a DNSMOS, which goes from 1 to 5, whatever a corpus says."""
    return None if value is None else f"{int(min(max(value, 0.0), 5.0) * 2) / 2:.1f}"


def corpus_of(shard: str) -> str | None:
    """The folder above the language's: `Emilia` of `Emilia/EN/EN-B000000.tar`."""
    parts = shard.split("/")
    return parts[-3] if len(parts) >= 3 else None
