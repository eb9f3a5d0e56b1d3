"""What the audit's tests promise, by simulated runs: `make prove-audit`, 40 minutes on two cores.

Clean runs: how often one has any finding of content. Clips of a shard resemble each other: of the
variance of every metric the share `icc` is the shard's own. Metrics, their distributions and how
they go together are those of 119 real clips (`tests/golden/audit/clean_metrics.csv`). Power: how
often one shard is found that is worse in every metric, by standard deviations of a shard's mean.
Prints the tables of RESULTS.md; `--quick` takes a hundredth of the draws.
"""

import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor

import numpy as np
from scipy import stats

from pipeline.audit.findings import ClipFinding
from pipeline.audit.judge.baseline import make_baseline
from pipeline.audit.judge.verdict import judge
from tests.support.audit_simulation import audit_of, clip, clustered_run, clustered_scores

RUNS = {3: 1000, 10: 1000, 40: 1000, 300: 200}
ICCS = (0.0, 0.2, 0.5)
SHIFTS = (2.0, 3.0, 4.0, 5.0, 6.0)
POWER_RUNS = 100
MOST_ALARMS = 0.02


def clean_run(cell: tuple[int, float, int]) -> str:
    """The verdict of one clean run, compared with itself."""
    shards, icc, seed = cell
    rng = np.random.default_rng([seed, shards, int(100 * icc)])
    return judge(audit_of(clustered_run(shards, icc, rng))).verdict


def against_baseline(cell: tuple[int, float, int]) -> str:
    """The verdict of a clean run of five shards against a clean baseline."""
    shards, icc, seed = cell
    rng = np.random.default_rng([seed, shards, int(100 * icc), 1])
    known = make_baseline(audit_of(clustered_run(shards, icc, rng)))
    return judge(audit_of(clustered_run(5, icc, rng)), known).verdict


def worse_shard(cell: tuple[int, float, float, int]) -> str:
    """The verdict of one worse shard against a baseline of good ones."""
    shards, icc, shift, seed = cell
    rng = np.random.default_rng([seed, shards, int(100 * icc), 2])
    known = make_baseline(audit_of(clustered_run(shards, icc, rng)))
    scores = clustered_scores(20, icc, rng, shift)
    return judge(audit_of([clip("w", row, each) for row, each in enumerate(scores)]), known).verdict


def worse_run(cell: tuple[int, float, float, int]) -> str:
    """The verdict of ten shards that are all worse."""
    shards, icc, shift, seed = cell
    rng = np.random.default_rng([seed, shards, int(100 * icc), 3])
    known = make_baseline(audit_of(clustered_run(shards, icc, rng)))
    clips: list[ClipFinding] = []
    for number in range(10):
        scores = clustered_scores(20, icc, rng, shift)
        clips += [clip(f"w{number}", row, each) for row, each in enumerate(scores)]
    return judge(audit_of(clips), known).verdict


def upper_bound(hits: int, total: int) -> float:
    """The one-sided 95 % bound of a share (Clopper and Pearson)."""
    return float(stats.beta.ppf(0.95, hits + 1, total - hits)) if hits < total else 1.0


def alarm_rows(pool: ProcessPoolExecutor, scale: float) -> Iterator[str]:
    yield "| shards | icc | runs | with a finding | 95 % bound | cannot judge |"
    yield "|---|---|---|---|---|---|"
    cells = [("", clean_run, shards, count) for shards, count in RUNS.items()]
    cells.insert(2, ("5 against ", against_baseline, 10, 1000))
    for label, judged, shards, count in cells:
        for icc in ICCS:
            total = max(int(count * scale), 10)
            work = [(shards, icc, seed) for seed in range(total)]
            found = list(pool.map(judged, work, chunksize=10))
            hits, unclear = found.count("unusual content"), found.count("cannot judge")
            bound = upper_bound(hits, total)
            late = " **over**" if bound > MOST_ALARMS and scale == 1 else ""
            yield (
                f"| {label}{shards} | {icc:g} | {total} | {hits} | {bound:.2%}{late} | "
                f"{unclear / total:.0%} |"
            )


def power_rows(pool: ProcessPoolExecutor, scale: float) -> Iterator[str]:
    shifts = " | ".join(f"{shift:g} SD" for shift in SHIFTS)
    yield f"| worse | reference shards | icc | {shifts} |"
    yield "|---|---|---|" + "---|" * len(SHIFTS)
    total = max(int(POWER_RUNS * scale), 5)
    cells = [("one shard", worse_shard, shards) for shards in (10, 20, 40)]
    cells.append(("all of 10 shards", worse_run, 10))
    for label, judged, shards in cells:
        for icc in ICCS[:2]:
            shares = []
            for shift in SHIFTS:
                work = [(shards, icc, shift, seed) for seed in range(total)]
                found = list(pool.map(judged, work, chunksize=10))
                shares.append(f"{found.count('unusual content') / total:.0%}")
            yield f"| {label} | {shards} | {icc:g} | {' | '.join(shares)} |"


def main() -> None:
    scale = 0.01 if "--quick" in sys.argv else 1.0
    with ProcessPoolExecutor(2) as pool:
        for rows in (alarm_rows, power_rows):
            for line in rows(pool, scale):
                print(line, flush=True)
            print()


if __name__ == "__main__":
    main()
