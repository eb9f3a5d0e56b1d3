"""What the audit's tests promise, by simulated and real runs: `make prove-audit`.

Clean runs: how often one has any finding of content. Clips of a shard resemble each other: of the
variance of every metric the share `icc` is the shard's own. What a shard has of its own is that of
a real shard of one reader, drawn whole, and its clips lie apart as those of another do
(`tests/golden/audit/speech_scores.csv`, by `clean_speech.py`). Power: how often one shard is found
that is worse by standard deviations of a shard's mean, in every metric or in some. Real runs: all
combinations of those shards as they are. Prints the tables of RESULTS.md.

`--quick` takes a hundredth of the draws. `--state FILE` keeps what was drawn, and goes on from it.
`--only WORD` draws one table: oracle, real, power or alarms. `--processes N` draws in so many.
"""

import argparse
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import combinations
from pathlib import Path

import numpy as np
from scipy import stats

from pipeline.audit.findings import METRIC_NAMES, ClipFinding
from pipeline.audit.judge.baseline import Baseline, make_baseline
from pipeline.audit.judge.content import content_changes
from pipeline.audit.judge.reference import by_shard
from pipeline.audit.judge.thresholds import Thresholds
from pipeline.audit.judge.together import WORSE as WORSE_BY_SCORE
from pipeline.audit.judge.verdict import judge
from tests.support.audit_simulation import (
    audit_of,
    clip,
    clustered_run,
    real_run,
    real_scores,
    real_shards,
    run_of_speakers,
    speech_clips,
)

ICCS = (0.0, 0.2, 0.5)
SHIFTS = (2.0, 3.0, 4.0, 6.0, 8.0)
POWER_RUNS = 100
MOST_ALARMS = 0.02
CHUNK = 20
# What is worse: metrics, all without any. The deviation of F0 errors is that of a few clips, so
# that a shift by it is a large one.
WORSE: Mapping[str, tuple[str, ...] | None] = {
    "every metric": None,
    "every metric but F0 error": tuple(n for n in METRIC_NAMES if n != "f0_error_cents"),
    "SIM, STOI, PESQ, log-mel distance": (
        "sim",
        "stoi",
        "pesq_nb",
        "pesq_wb",
        "log_mel_distance_db",
    ),
    "STOI alone": ("stoi",),
    "SIM alone": ("sim",),
    "PESQ alone": ("pesq_nb", "pesq_wb"),
    "log-mel distance alone": ("log_mel_distance_db",),
    "level alone": ("gain_db",),
}
Run = Callable[[int, float, np.random.Generator], list[ClipFinding]]
RUNS: Mapping[str, Run] = {
    "whole real shards": real_run,
    "normal shards": clustered_run,
    "shards lopsided as clips": partial(clustered_run, lopsided=True),
    "1 to 20 speakers a shard": run_of_speakers,
    "equal means, real shapes": partial(real_run, about="mean"),
    "equal middles, real shapes": partial(real_run, about="middle"),
}


@dataclass(frozen=True, slots=True)
class Draw:
    """One simulated clean audit; with `known` shards of a clean baseline, else against itself."""

    icc: float
    shards: int
    pool: str = "whole real shards"
    known: int = 0


def verdict(cell: Draw, seed: int) -> str:
    """What the audit says of the content of a clean run."""
    rng = np.random.default_rng([seed, cell.shards, cell.known, int(100 * cell.icc)])
    run = RUNS[cell.pool]
    known = run(cell.known, cell.icc, rng)
    return content(
        run(cell.shards, cell.icc, rng), make_baseline(audit_of(known)) if known else None
    )


def content(clips: list[ClipFinding], baseline: Baseline | None) -> str:
    """The content of a run as `judge` takes it from these changes, without its other checks."""
    # Without a baseline groups are measured and not tested.
    groups = {"run": clips} if baseline else {}
    found = content_changes(audit_of(clips), groups, groups, baseline, Thresholds())
    changes = [
        change
        for each in (*found.shards.values(), *found.groups.values())
        for change in each.values()
    ]
    if any(change.unusual for change in changes):
        return "unusual content"
    return "ok" if any(change.p_value is not None for change in changes) else "cannot judge"


def found_shifts(cell: Draw, seed: int) -> str:
    """Which shifts of one shard are found, of every kind, against one baseline: `1` or `0`."""
    rng = np.random.default_rng([seed, 1, cell.known, int(100 * cell.icc)])
    baseline = make_baseline(audit_of(RUNS[cell.pool](cell.known, cell.icc, rng)))
    state = rng.bit_generator.state
    told = ""
    for moved in WORSE.values():
        for shift in SHIFTS:
            rng.bit_generator.state = state
            scores = real_scores(20, cell.icc, rng, shift, moved=moved)
            clips = [clip("worse", row, each) for row, each in enumerate(scores)]
            told += str(int(content(clips, baseline) == "unusual content"))
    return told


def pieces(draw: Callable[[Draw, int], str], cell: Draw, seeds: Sequence[int]) -> list[str]:
    return [draw(cell, seed) for seed in seeds]


class Draws:
    """Draws cells in pieces, and keeps what is drawn."""

    def __init__(self, pool: ProcessPoolExecutor, state: Path | None, scale: float) -> None:
        self.pool, self.state, self.scale = pool, state, scale
        self.kept: dict[str, dict[int, list[str]]] = {}
        if state and state.exists():
            for line in state.read_text().splitlines():
                piece = json.loads(line)
                self.kept.setdefault(piece["cell"], {})[piece["from"]] = piece["found"]

    def drawn(self, draw: Callable[[Draw, int], str], cell: Draw, total: int) -> list[str]:
        total = max(int(total * self.scale), CHUNK)
        name = json.dumps({"draw": draw.__name__, **asdict(cell)})
        kept = self.kept.setdefault(name, {})
        starts = [start for start in range(0, total, CHUNK) if start not in kept]
        seeds = [range(start, start + CHUNK) for start in starts]
        found = self.pool.map(partial(pieces, draw, cell), seeds)
        for start, piece in zip(starts, found, strict=True):
            kept[start] = piece
            if self.state:
                with self.state.open("a") as file:
                    file.write(json.dumps({"cell": name, "from": start, "found": piece}) + "\n")
        return [each for start in sorted(kept) for each in kept[start]][:total]


def upper_bound(hits: int, total: int) -> float:
    """The one-sided 95 % bound of a share (Clopper and Pearson)."""
    return float(stats.beta.ppf(0.95, hits + 1, total - hits)) if hits < total else 1.0


def alarm_rows(draws: Draws) -> Iterator[str]:
    yield "| clean runs of | shards | icc | runs | with a finding | 95 % bound | cannot judge |"
    yield "|---|---|---|---|---|---|---|"
    cells = [
        (Draw(icc, shards), runs)
        for icc in (0.2, 0.5, 0.0)
        for shards, runs in ((40, 1000), (300, 200), (10, 1000), (3, 1000))
    ]
    cells += [
        (Draw(0.0, shards, f"equal {centre}, real shapes"), 1000)
        for centre in ("means", "middles")
        for shards in (10, 40)
    ]
    cells += [(Draw(icc, 5, known=10), 1000) for icc in ICCS]
    cells += [
        (Draw(icc, shards, "1 to 20 speakers a shard"), 1000)
        for icc in (0.2, 0.5)
        for shards in (10, 40)
    ]
    cells += [(Draw(icc, shards, "normal shards"), 1000) for icc in ICCS for shards in (10, 40)]
    cells += [(Draw(icc, 10, "shards lopsided as clips"), 1000) for icc in ICCS[1:]]
    for cell, total in cells:
        found = draws.drawn(verdict, cell, total)
        hits, unclear = found.count("unusual content"), found.count("cannot judge")
        bound = upper_bound(hits, len(found))
        late = " **over**" if bound > MOST_ALARMS and draws.scale == 1 else ""
        label = f"{cell.shards} against {cell.known}" if cell.known else f"{cell.shards}"
        yield (
            f"| {cell.pool} | {label} | {cell.icc:g} | {len(found)} | {hits} | {bound:.2%}{late} | "
            f"{unclear / len(found):.0%} |"
        )


def power_rows(draws: Draws) -> Iterator[str]:
    shifts = " | ".join(f"{shift:g} SD" for shift in SHIFTS)
    yield f"| worse | reference shards | icc | {shifts} |"
    yield "|---|---|---|" + "---|" * len(SHIFTS)
    cells = [
        Draw(icc, 1, known=known) for known, icc in ((10, 0.2), (20, 0.2), (40, 0.2), (10, 0.0))
    ]
    told = [draws.drawn(found_shifts, cell, POWER_RUNS) for cell in cells]
    for place, label in enumerate(WORSE):
        for cell, found in zip(cells, told, strict=True):
            hits = np.array([[int(hit) for hit in each] for each in found]).mean(axis=0)
            shares = hits[place * len(SHIFTS) : (place + 1) * len(SHIFTS)]
            row = " | ".join(f"{share:.0%}" for share in shares)
            yield f"| {label} | {cell.known} | {cell.icc:g} | {row} |"


def oracle_rows(draws: Draws, icc: float = 0.2, shift: float = 2.0) -> Iterator[str]:
    """How often the best weighted sum of the score's metrics finds a shard, the less is known.

    Its weights come from the true covariance of shard means and from what is worse. `known` is all
    that there is to know, `mean of ten` takes the mean of ten reference shards, `t` their spread
    as well. One shard and one test, which has the whole chance of 1 % or half of it.
    """
    rng = np.random.default_rng(0)
    names = [name for name in real_shards().names if name in WORSE_BY_SCORE]
    taken = [name in WORSE_BY_SCORE for name in real_shards().names]
    total = 11 * max(int(10_000 * draws.scale), 1000)
    learnt, means = (shard_means(total, icc, rng)[:, taken] for _ in range(2))
    yield "| worse | shift | known: 1 % | 0.5 % | mean of ten: 1 % | 0.5 % | t: 1 % | 0.5 % |"
    yield "|---|---|---|---|---|---|---|---|"
    by_t = stats.t.ppf((0.99, 0.995), 9)
    for label in list(WORSE)[:3]:
        moved = WORSE[label] or names
        worse = np.array([WORSE_BY_SCORE[n] if n in moved else 0.0 for n in names])
        move = shift * np.sqrt(icc + (1 - icc) / 20) * worse
        weights = np.linalg.solve(np.cov(learnt.T), move)
        sums = (means @ weights).reshape(-1, 11)
        own, others = sums[:, 0], sums[:, 1:]
        ahead = own - others.mean(axis=1)
        error = np.sqrt(1.1 * others.var(axis=1, ddof=1))
        found = [
            np.mean(values > limit)
            for values, limits in (
                (own + move @ weights, np.quantile(sums, (0.99, 0.995))),
                (ahead + move @ weights, np.quantile(ahead, (0.99, 0.995))),
                ((ahead + move @ weights) / error, by_t),
            )
            for limit in limits
        ]
        cells = " | ".join(f"{share:.0%}" for share in found)
        yield f"| {label} | {move @ weights / sums.std():.2f} SD | {cells} |"


def shard_means(count: int, icc: float, rng: np.random.Generator) -> np.ndarray:
    """Means of clean shards of 20 clips out of whole real shards, `[shards, metrics]`, scaled."""
    real = real_shards()
    own = real.own[rng.integers(0, len(real.own), count)]
    picks = rng.integers(0, len(real.apart), count)
    chosen_clips = (real.apart[pick] for pick in picks)
    apart = [each[rng.integers(0, len(each), 20)].mean(axis=0) for each in chosen_clips]
    return np.asarray(np.sqrt(icc) * own + np.sqrt(1 - icc) * np.stack(apart))


def real_rows(draws: Draws) -> Iterator[str]:
    """Clean shards of real readers, each combination a run, in their languages and in none."""
    yield "| shards | languages | runs | with a finding | cannot judge | ok |"
    yield "|---|---|---|---|---|---|"
    for size in range(2, 9):
        for known in (True, False):
            found = Counter(real_verdict(names, known) for names in chosen(size, draws.scale))
            told = (found[each] for each in ("unusual content", "cannot judge", "ok"))
            yield (
                f"| {size} | {'known' if known else 'unknown'} | {found.total()} | "
                f"{' | '.join(str(each) for each in told)} |"
            )


def chosen(size: int, scale: float, most: int = 100) -> list[tuple[str, ...]]:
    """All combinations of so many of the real shards, or `most` of them by chance."""
    shards = sorted(by_shard(speech_clips()))
    if size == 2:
        return list(combinations(shards, 2))
    rng = np.random.default_rng(size)
    total = max(int(most * scale), 20)
    return [tuple(sorted(rng.choice(shards, size, replace=False))) for _ in range(total)]


def real_verdict(names: Sequence[str], is_known: bool) -> str:
    """What the audit says of the content of these shards."""
    clips = [each for each in speech_clips() if each.shard in names]
    if not is_known:
        clips = [replace(each, language=None) for each in clips]
    return judge(audit_of(clips)).content


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--state", type=Path)
    parser.add_argument("--only", default="")
    parser.add_argument("--processes", type=int, default=2)
    args = parser.parse_args()
    tables = {
        "oracle": oracle_rows,
        "real": real_rows,
        "power": power_rows,
        "alarms": alarm_rows,
    }
    with ProcessPoolExecutor(args.processes) as pool:
        draws = Draws(pool, args.state, 0.01 if args.quick else 1.0)
        for name, rows in tables.items():
            if args.only in name:
                for line in rows(draws):
                    print(line, flush=True)
                print()


if __name__ == "__main__":
    main()
