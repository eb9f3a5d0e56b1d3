"""What the audit's tests promise, by simulated and real runs: `make prove-audit`.

Clean runs: how often one has any finding of content. Clips of a shard resemble each other: of the
variance of every metric the share `icc` is the shard's own. What a shard has of its own is that of
a real shard of one reader, drawn whole, and its clips lie apart as those of another do
(`tests/golden/audit/speech_scores.csv`, by `clean_speech.py`). Power: how often one shard is found
that is worse by standard deviations of a shard's mean, in every metric or in some. Real runs: all
combinations of those shards as they are. Prints the tables of RESULTS.md.

`--quick` takes a hundredth of the draws. `--state FILE` keeps what was drawn, and goes on from it.
`--only WORD` draws the tables whose name has it.
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
from pipeline.audit.judge.baseline import make_baseline
from pipeline.audit.judge.content import content_changes
from pipeline.audit.judge.reference import by_shard
from pipeline.audit.judge.thresholds import Thresholds
from pipeline.audit.judge.verdict import judge
from tests.support.audit_simulation import (
    audit_of,
    clip,
    clustered_run,
    real_run,
    real_scores,
    run_of_speakers,
    speech_clips,
)

ICCS = (0.0, 0.2, 0.5)
SHIFTS = (2.0, 3.0, 4.0, 6.0, 8.0)
POWER_RUNS = 400
MOST_ALARMS = 0.02
CHUNK = 20
# The deviation of F0 errors is that of a few clips, so that a shift by it is a large one.
BUT_F0 = tuple(name for name in METRIC_NAMES if name != "f0_error_cents")
OF_CODECS = ("sim", "stoi", "pesq_nb", "pesq_wb", "log_mel_distance_db")
Run = Callable[[int, float, np.random.Generator], list[ClipFinding]]
RUNS: Mapping[str, Run] = {
    "whole real shards": real_run,
    "normal shards": clustered_run,
    "shards lopsided as clips": partial(clustered_run, lopsided=True),
    "1 to 20 speakers a shard": run_of_speakers,
}


@dataclass(frozen=True, slots=True)
class Draw:
    """One simulated audit; with `known` shards of a clean baseline, else against itself."""

    icc: float
    shards: int
    pool: str = "whole real shards"
    known: int = 0
    shift: float = 0.0
    moved: tuple[str, ...] | None = None


def verdict(cell: Draw, seed: int) -> str:
    """What the audit says of the content of a run."""
    rng = np.random.default_rng([seed, cell.shards, cell.known, int(100 * cell.icc)])
    run = RUNS[cell.pool]
    baseline = None
    if cell.known:
        baseline = make_baseline(audit_of(run(cell.known, cell.icc, rng)))
    if cell.shift:
        clips = [
            clip(f"worse-{number}", row, scores)
            for number in range(cell.shards)
            for row, scores in enumerate(
                real_scores(20, cell.icc, rng, cell.shift, moved=cell.moved)
            )
        ]
    else:
        clips = run(cell.shards, cell.icc, rng)
    groups = {"run": clips}
    found = content_changes(audit_of(clips), groups, groups, baseline, Thresholds())
    changes = [
        change
        for each in (*found.shards.values(), *found.groups.values())
        for change in each.values()
    ]
    if any(change.unusual for change in changes):
        return "unusual content"
    return "ok" if any(change.p_value is not None for change in changes) else "cannot judge"


def verdicts(cell: Draw, seeds: Sequence[int]) -> list[str]:
    return [verdict(cell, seed) for seed in seeds]


class Draws:
    """Draws cells in pieces, and keeps what is drawn."""

    def __init__(self, pool: ProcessPoolExecutor, state: Path | None, scale: float) -> None:
        self.pool, self.state, self.scale = pool, state, scale
        self.kept: dict[str, dict[int, list[str]]] = {}
        if state and state.exists():
            for line in state.read_text().splitlines():
                piece = json.loads(line)
                self.kept.setdefault(piece["cell"], {})[piece["from"]] = piece["found"]

    def drawn(self, cell: Draw, total: int) -> list[str]:
        total = max(int(total * self.scale), CHUNK)
        name = json.dumps(asdict(cell))
        kept = self.kept.setdefault(name, {})
        starts = [start for start in range(0, total, CHUNK) if start not in kept]
        seeds = [range(start, start + CHUNK) for start in starts]
        for start, found in zip(starts, self.pool.map(partial(verdicts, cell), seeds), strict=True):
            kept[start] = found
            if self.state:
                with self.state.open("a") as file:
                    line = {"cell": name, "from": start, "found": found}
                    file.write(json.dumps(line) + "\n")
        return [each for start in sorted(kept) for each in kept[start]][:total]


def upper_bound(hits: int, total: int) -> float:
    """The one-sided 95 % bound of a share (Clopper and Pearson)."""
    return float(stats.beta.ppf(0.95, hits + 1, total - hits)) if hits < total else 1.0


def alarm_rows(draws: Draws) -> Iterator[str]:
    yield "| clean runs of | shards | icc | runs | with a finding | 95 % bound | cannot judge |"
    yield "|---|---|---|---|---|---|---|"
    cells = [(Draw(icc, shards), 1000) for shards in (10, 40, 3) for icc in ICCS]
    cells += [(Draw(icc, 300), 200) for icc in ICCS]
    cells += [(Draw(icc, 5, known=10), 1000) for icc in ICCS]
    cells += [
        (Draw(icc, shards, "1 to 20 speakers a shard"), 1000)
        for icc in (0.2, 0.5)
        for shards in (10, 40)
    ]
    cells += [(Draw(icc, shards, "normal shards"), 1000) for icc in ICCS for shards in (10, 40)]
    cells += [(Draw(icc, 10, "shards lopsided as clips"), 1000) for icc in ICCS[1:]]
    for cell, total in cells:
        found = draws.drawn(cell, total)
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
    kinds = {
        "every metric": None,
        "every metric but F0 error": BUT_F0,
        "SIM, STOI, PESQ and log-mel distance": OF_CODECS,
    }
    cells = [
        (label, Draw(icc, 1, known=known, moved=moved))
        for label, moved in kinds.items()
        for known in (10, 20, 40)
        for icc in ICCS[:2]
    ]
    single = ("stoi", "sim", "pesq_wb", "log_mel_distance_db", "gain_db")
    cells += [
        (f"{name} alone", Draw(0.2, 1, known=known, moved=(name,)))
        for name in single
        for known in (10, 40)
    ]
    for label, cell in cells:
        found = [draws.drawn(replace(cell, shift=shift), POWER_RUNS) for shift in SHIFTS]
        shares = [f"{each.count('unusual content') / len(each):.0%}" for each in found]
        yield f"| {label} | {cell.known} | {cell.icc:g} | {' | '.join(shares)} |"


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


def chosen(size: int, scale: float, most: int = 1000) -> list[tuple[str, ...]]:
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
    args = parser.parse_args()
    tables = {"real": real_rows, "power": power_rows, "alarms": alarm_rows}
    with ProcessPoolExecutor(2) as pool:
        draws = Draws(pool, args.state, 0.01 if args.quick else 1.0)
        for name, rows in tables.items():
            if args.only in name:
                for line in rows(draws):
                    print(line, flush=True)
                print()


if __name__ == "__main__":
    main()
