"""The records of a results folder as a short table, and as a dated section of RESULTS.md.

    python3 tests/gpu/report.py [FOLDER]        (`make gpu-report`)

What a record does not hold is "not measured"; nothing is filled in.
"""

import argparse
import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "tests" / "benchmarks" / "RESULTS.md"
FOLDER = ROOT / "tests" / "gpu" / "results"
STAGES = ("goldens", "speed", "one_shape", "profile", "decode", "codecs", "training")
_MISSING = "not measured"
Records = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Target:
    """A number that one GPU is to reach, and where a record has it."""

    what: str
    stage: str
    place: str
    least: float = 0.0
    is_exactly_zero: bool = False

    def line(self, records: Records) -> str:
        """The row of the table."""
        value = find(records, self.stage, self.place)
        about = records.get(self.stage, {}).get("about", {})
        on_gpu = about.get("device") != "cpu" and about.get("models") == "full size"
        if not on_gpu or not isinstance(value, int | float):
            return f"| {self.what} | {_MISSING} | open |"
        is_met = value == 0 if self.is_exactly_zero else value >= self.least
        return f"| {self.what} | {number(value)} | {'met' if is_met else '**missed**'} |"


TARGETS = (
    *(
        Target(f"wrong frames, exact, {size}{words}", stage, f"exact.{size}_xy.wrong",
               is_exactly_zero=True)
        for stage, words in (("goldens", ""), ("one_shape", ", packs of one shape"))
        for size in ("small", "full")
    ),
    *(
        Target(f"clips with other bits, {why}, {precision}{words}", stage,
               f"invariance.{precision}.full_xy.{place}.bits_differ", is_exactly_zero=True)
        for stage, words in (("goldens", ""), ("one_shape", ", packs of one shape"))
        for precision in ("exact", "fast")
        for why, place in (("at other places", "places"), ("in other company", "company"))
    ),
    *(
        Target(f"{what}, {name.replace('_', ', ')}{words}", "codecs",
               f"goldens.{program}.{name}.{key}", is_exactly_zero=True)
        for program, words in (("tiles", ""), ("pack", ", packs of one shape"))
        for what, key in (("wrong codes", "wrong"),
                          ("clips with other codes in company", "differ_in_company"))
        for name in ("moss_small3", "moss_small4", "moss_small4w", "secousti_small_21",
                     "secousti_small_86")
    ),
    Target("values of SecoustiCodec's noise unlike numpy's", "codecs", "noise.unlike",
           is_exactly_zero=True),
    *(
        Target(f"graph, {precision}: codes unlike those without a graph", "one_shape",
               f"speed.{precision}.graph.codes_unlike_pack", is_exactly_zero=True)
        for precision in ("exact", "fast")
    ),
    *(
        Target(
            f"graph, fast, × real time, ≥ {least:,}", "one_shape",
            "speed.fast.graph.times_realtime", least
        )
        for least in (10_000, 4000)
    ),
    Target("graph, exact, × real time, ≥ 1,500", "one_shape",
           "speed.exact.graph.times_realtime", 1500),
    Target("graph, decoding: largest difference from that without a graph", "decode",
           "exact.graph.largest_difference_from_pack", is_exactly_zero=True),
    Target("fast: codes of codebook 1 as exact, ≥ 0.99", "goldens", "agree.first", 0.99),
    Target("fast: all codes as exact, ≥ 0.95", "goldens", "agree.overall", 0.95),
    *(
        Target(f"fast, × real time, ≥ {least:,}", "speed", "fast.first.times_realtime", least)
        for least in (10_000, 4000)
    ),
    Target("fast over the padded way, ≥ 7", "speed", "over_padded.fast_over_fast", 7),
    Target("exact, × real time, ≥ 1,500", "speed", "exact.first.times_realtime", 1500),
)  # fmt: skip
# Stage, place and words of the other figures; a place may end in a group of figures.
FIGURES = (
    ("goldens", "exact"), ("goldens", "fast"), ("goldens", "invariance"), ("goldens", "flips"),
    ("goldens", "weights"), ("one_shape", "exact"), ("one_shape", "fast"),
    ("one_shape", "invariance"), ("one_shape", "speed"), ("one_shape", "profile"),
    ("speed", "matmul_peak"), ("speed", "fast"), ("speed", "exact"), ("speed", "padded"),
    ("speed", "over_padded"), ("profile", "fast"), ("profile", "exact"), ("decode", "exact"),
    ("codecs", "noise"), ("codecs", "goldens"), ("codecs", "speed"),
    ("training", "bfloat16"), ("training", "float32"),
)  # fmt: skip


def read_records(folder: Path) -> dict[str, dict[str, Any]]:
    """The records of a folder by stage; stages without one are absent."""
    records = {}
    for stage in STAGES:
        path = folder / f"{stage}.json"
        if path.exists():
            records[stage] = json.loads(path.read_text())
    return records


def find(records: Records, stage: str, place: str) -> Any:
    """The value at a place such as `exact.first.best`, None if the record has none."""
    value: Any = records.get(stage, {}).get("found", {})
    if place.startswith("agree."):
        return _agreement(value, place.removeprefix("agree."))
    for name in place.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def _agreement(found: Mapping[str, Any], which: str) -> float | None:
    """Of the bundled checkpoint: trained weights, where a synthetic model has only ties."""
    flips = found.get("flips", {}).get("xy-nano", {})
    if "overall" not in flips:
        return None
    return 1 - float(flips["per_codebook"][0] if which == "first" else flips["overall"])


def summary_lines(records: Records) -> list[str]:
    """The states of the stages and the targets."""
    lines = ["| stage | state | seconds |", "|---|---|---|"]
    for stage in STAGES:
        record = records.get(stage, {})
        lines.append(
            f"| {stage} | {record.get('state', 'not run')} | {record.get('seconds', '')} |"
        )
    return [*lines, "", "| target | measured | |", "|---|---|---|", *target_lines(records)]


def target_lines(records: Records) -> list[str]:
    """One row a target."""
    return [target.line(records) for target in TARGETS]


def section(records: Records) -> list[str]:
    """A dated section for RESULTS.md."""
    about = next(iter(records.values()))["about"]
    out = [f"## gpu: {about['device']}, {about['date']}", ""]
    out.append(
        f"`tests/gpu/run.py` at commit {about['commit']}, torch {about['torch']}, CUDA "
        f"{about['cuda'] or '-'}, driver {about['driver'] or '-'}, Python {about['python']}."
    )
    out += ["", *summary_lines(records), ""]
    for stage, place in FIGURES:
        rows = list(_rows(find(records, stage, place)))
        if rows:
            out += [f"{stage}, {place}:", "", "| | |", "|---|---|", *rows, ""]
    for stage, record in records.items():
        out += [f"- {stage}: {line}" for line in (*record["notes"], *record["error"][-1:])]
    return out


def _rows(value: Any, path: str = "") -> Iterator[str]:
    """The figures below a value as rows of a table, one for each group of them."""
    if not isinstance(value, Mapping):
        return
    groups = {name: each for name, each in value.items() if isinstance(each, Mapping)}
    plain = [
        f"{name} {number(each)}"
        for name, each in value.items()
        if name not in (*groups, "top", "lines") and each is not None
    ]
    if plain:
        yield f"| {path} | {', '.join(plain)} |"
    for kernel in value.get("top", ()):
        figures = f"{kernel['calls']} calls, {number(kernel['milliseconds'])} ms"
        yield f"| `{number(kernel['name'])}` | {figures} |"
    for name, each in groups.items():
        yield from _rows(each, f"{path} {name}".strip())


def number(value: Any) -> str:
    """A figure with three digits or whole thousands; text so that it stays in its cell."""
    if isinstance(value, str):
        return value.replace("|", "\\|")
    if isinstance(value, list):
        return " ".join(map(number, value))
    if isinstance(value, float) and not value.is_integer():
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    if isinstance(value, float):
        value = int(value)
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def put_section(text: str, lines: Iterable[str]) -> str:
    """The text with the section at its end, in the place of one with the same heading."""
    heading, *rest = lines
    kept, is_old = [], False
    for line in text.splitlines():
        if line.startswith("## "):
            is_old = line == heading
        if not is_old:
            kept.append(line)
    before = "\n".join(kept).rstrip()
    return "\n".join([before, "", heading, *rest]).rstrip() + "\n"


def main(words: Sequence[str] | None = None) -> int:
    """Put the section into RESULTS.md; 1 where there are no records."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", nargs="?", type=Path, default=FOLDER)
    parser.add_argument("--into", type=Path, default=RESULTS)
    args = parser.parse_args(words)
    records = read_records(args.folder)
    if not records:
        print(f"`{args.folder}` holds no records; expected goldens.json and others. Run run.py.")
        return 1
    args.into.write_text(put_section(args.into.read_text(), section(records)))
    print("\n".join(summary_lines(records)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
