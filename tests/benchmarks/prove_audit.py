"""What the audit's tests promise, by simulated runs: `make prove-audit`, two hours on two cores.

Clean runs: how often one has any finding of content. Clips of a shard resemble each other: of the
variance of every metric the share `icc` is the shard's own. Metrics, their distributions and how
they go together are those of 119 real clips (`tests/golden/audit/clean_metrics.csv`). Power: how
often one shard is found that is worse, by standard deviations of a shard's mean: in every metric,
with the metrics that an audit measures unasked, or in one metric alone. Prints the tables of
RESULTS.md; `--quick` takes a hundredth of the draws.
"""

import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
from scipy import stats

from pipeline.audit.findings import METRIC_NAMES, ClipFinding, Scores
from pipeline.audit.judge.baseline import make_baseline
from pipeline.audit.judge.verdict import judge
from tests.support.audit_simulation import audit_of, clip, clustered_scores

RUNS = {3: 1000, 10: 1000, 40: 1000, 300: 200}
ICCS = (0.0, 0.2, 0.5)
SHIFTS = (2.0, 3.0, 4.0, 5.0, 6.0)
POWER_RUNS = 100
MOST_ALARMS = 0.02
# The deviation of F0 errors is that of a few clips, so that a shift by it is a large one.
BUT_F0 = tuple(name for name in METRIC_NAMES if name != "f0_error_cents")


@dataclass(frozen=True, slots=True)
class Draw:
    """One simulated audit: so many shards, of them `worse` ones moved, by themselves or not.

    Attributes:
        known: shards of a clean baseline; 0 compares the run with itself.
        moved: the metrics that are worse; all of them without it.
        usual: without DNSMOS, as an audit that names no metrics.
    """

    seed: int
    icc: float
    shards: int
    known: int = 0
    shift: float = 0.0
    moved: tuple[str, ...] | None = None
    usual: bool = False
    lopsided: bool = False


def verdict(draw: Draw) -> str:
    """What the audit says of the run."""
    rng = np.random.default_rng([draw.seed, draw.shards, draw.known, int(100 * draw.icc)])
    baseline = None
    if draw.known:
        good = replace(draw, shards=draw.known, shift=0.0)
        baseline = make_baseline(audit_of(clips_of(good, rng)))
    return judge(audit_of(clips_of(draw, rng)), baseline).verdict


def clips_of(draw: Draw, rng: np.random.Generator) -> list[ClipFinding]:
    return [
        clip(f"s{number:03d}", row, without_dnsmos(scores) if draw.usual else scores)
        for number in range(draw.shards)
        for row, scores in enumerate(
            clustered_scores(
                20, draw.icc, rng, draw.shift, moved=draw.moved, lopsided=draw.lopsided
            )
        )
    ]


def without_dnsmos(scores: Scores) -> Scores:
    return replace(
        scores,
        dnsmos_original=None,
        dnsmos_reconstruction=None,
        dnsmos_p808_original=None,
        dnsmos_p808_reconstruction=None,
    )


def upper_bound(hits: int, total: int) -> float:
    """The one-sided 95 % bound of a share (Clopper and Pearson)."""
    return float(stats.beta.ppf(0.95, hits + 1, total - hits)) if hits < total else 1.0


def drawn(pool: ProcessPoolExecutor, cell: Draw, total: int) -> list[str]:
    work = [replace(cell, seed=seed) for seed in range(total)]
    return list(pool.map(verdict, work, chunksize=5))


def alarm_rows(pool: ProcessPoolExecutor, scale: float) -> Iterator[str]:
    yield "| shards | icc | runs | with a finding | 95 % bound | cannot judge |"
    yield "|---|---|---|---|---|---|"
    cells = [(f"{shards}", Draw(0, 0.0, shards), count) for shards, count in RUNS.items()]
    cells.insert(2, ("5 against 10", Draw(0, 0.0, 5, known=10), 1000))
    cells.append(("10, lopsided", Draw(0, 0.0, 10, lopsided=True), 1000))
    for label, cell, count in cells:
        for icc in ICCS[1:] if cell.lopsided else ICCS:
            total = max(int(count * scale), 10)
            found = drawn(pool, replace(cell, icc=icc), total)
            hits, unclear = found.count("unusual content"), found.count("cannot judge")
            bound = upper_bound(hits, total)
            late = " **over**" if bound > MOST_ALARMS and scale == 1 else ""
            yield (
                f"| {label} | {icc:g} | {total} | {hits} | {bound:.2%}{late} | "
                f"{unclear / total:.0%} |"
            )


def power_rows(pool: ProcessPoolExecutor, scale: float) -> Iterator[str]:
    shifts = " | ".join(f"{shift:g} SD" for shift in SHIFTS)
    yield f"| worse | reference shards | icc | {shifts} |"
    yield "|---|---|---|" + "---|" * len(SHIFTS)
    total = max(int(POWER_RUNS * scale), 5)
    cells = [
        (label, replace(cell, known=known, icc=icc))
        for label, cell in (
            ("one shard, all metrics", Draw(0, 0.0, 1)),
            ("one shard, without DNSMOS", Draw(0, 0.0, 1, usual=True)),
            ("one shard, all but DNSMOS and F0", Draw(0, 0.0, 1, moved=BUT_F0, usual=True)),
            ("one shard, STOI alone", Draw(0, 0.0, 1, moved=("stoi",), usual=True)),
        )
        for known in (10, 20, 40)
        for icc in ICCS[:2]
    ]
    cells += [
        ("all of 10 shards, without DNSMOS", Draw(0, icc, 10, known=10, usual=True))
        for icc in ICCS[:2]
    ]
    for label, cell in cells:
        found = [drawn(pool, replace(cell, shift=shift), total) for shift in SHIFTS]
        shares = [f"{each.count('unusual content') / total:.0%}" for each in found]
        yield f"| {label} | {cell.known} | {cell.icc:g} | {' | '.join(shares)} |"


def main() -> None:
    scale = 0.01 if "--quick" in sys.argv else 1.0
    with ProcessPoolExecutor(2) as pool:
        for rows in (power_rows, alarm_rows):
            for line in rows(pool, scale):
                print(line, flush=True)
            print()


if __name__ == "__main__":
    main()
