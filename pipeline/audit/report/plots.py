"""Geometry of the report's plots: distributions, the strip of shards, use of the codebooks.

`templates/plots.html.j2` draws them. Colours are classes of the page's style sheet, so one plot
serves light and dark.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.audit.findings import CODE_BITS, LABELS, ORDER_BITS, TOGETHER
from pipeline.audit.judge.inference import Values
from pipeline.audit.judge.judgement import VERDICTS, Judgement, ShardVerdict
from pipeline.audit.report.page import STYLES
from pipeline.audit.report.wording import number
from pipeline.plural import plural

_WIDTH, _HEIGHT, _FLOOR = 280, 104, 82
_BINS = 28
_STRIP_WIDTH, _LABEL_WIDTH = 1000, 160
_CELL_HEIGHT, _ROW_HEIGHT = 22, 25
# Runs with more shards share a column, which shows the worst of them.
_MAX_COLUMNS = 240
_SHOWN = (
    TOGETHER,
    "sim",
    "stoi",
    "pesq_wb",
    "log_mel_distance_db",
    "cer_increase",
    "dnsmos_original",
    "gain_db",
    CODE_BITS,
    ORDER_BITS,
)
_STRIP_LABELS = {
    **LABELS,
    "dnsmos_original": "DNSMOS original",
    "cer_increase": "character error",
    ORDER_BITS: "bits saved",
}
_SEVERITY = ("none", "better-1", "better-2", "ok", "worse-1", "worse-2", "worse-3")


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle."""

    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class Mark:
    """An upright line."""

    style: str
    x: float


@dataclass(frozen=True, slots=True)
class Tick:
    """A figure below the axis."""

    x: float
    anchor: str
    text: str


@dataclass(frozen=True, slots=True)
class Distribution:
    """Bars of this run and the reference as a line, both with their means marked."""

    label: str
    about: str
    summary: str
    bars: tuple[Box, ...]
    reference: str
    means: tuple[Mark, ...]
    ticks: tuple[Tick, ...]
    width: int = _WIDTH
    height: int = _HEIGHT
    floor: int = _FLOOR


def distribution(
    label: str, sample: Values, reference: Values | None, about: str = ""
) -> Distribution:
    """The distribution of a sample, and of a reference where there is one."""
    edges = _common_edges([sample] if reference is None else [sample, reference])
    own = _shares(sample, edges)
    other = _shares(reference, edges) if reference is not None else np.zeros(0)
    top = max(own.max(), other.max(initial=0.0), 1e-9)
    step = _WIDTH / _BINS
    bars = (
        Box(*_rounded(index * step + 0.5, _FLOOR - tall, step - 1, tall))
        for index, tall in enumerate(_FLOOR * own / top)
        if tall
    )
    means = [_mean_mark(sample, edges, "own-mean")]
    summary = f"{label}: mean {number(float(sample.mean()))} over {plural(len(sample), 'clip')}"
    if reference is not None:
        means.insert(0, _mean_mark(reference, edges, "reference-mean"))
        summary += f", reference mean {number(float(reference.mean()))}"
    outline = " ".join(
        f"{index * step:.1f},{_FLOOR - tall:.1f} {(index + 1) * step:.1f},{_FLOOR - tall:.1f}"
        for index, tall in enumerate(_FLOOR * other / top)
    )
    places = ((0, "start"), (_BINS // 2, "middle"), (_BINS, "end"))
    ticks = (Tick(step * bin_, anchor, number(float(edges[bin_]))) for bin_, anchor in places)
    return Distribution(label, about, summary, tuple(bars), outline, tuple(means), tuple(ticks))


def _rounded(*values: float) -> tuple[float, ...]:
    return tuple(round(float(value), 1) for value in values)


def _common_edges(samples: Sequence[Values]) -> Values:
    """Bin edges that show all but the outermost half percent of every sample."""
    low = min(float(np.quantile(sample, 0.005)) for sample in samples)
    high = max(float(np.quantile(sample, 0.995)) for sample in samples)
    if high - low < 1e-9:
        low, high = low - 0.5, high + 0.5
    return np.linspace(low, high, _BINS + 1)


def _shares(sample: Values, edges: Values) -> Values:
    """Share of a sample in each bin; values beyond the edges count in the outermost bins."""
    counts, _ = np.histogram(np.clip(sample, edges[0], edges[-1]), edges)
    return np.asarray(counts / max(len(sample), 1))


def _mean_mark(sample: Values, edges: Values, style: str) -> Mark:
    x = _WIDTH * (sample.mean() - edges[0]) / (edges[-1] - edges[0])
    return Mark(style, round(float(np.clip(x, 1.0, _WIDTH - 1.0)), 1))


@dataclass(frozen=True, slots=True)
class UsageCurve:
    """How evenly one codebook is used: entries from most to least frequent, on a log scale."""

    points: str
    summary: str


def usage_curve(shares: Values) -> UsageCurve:
    """The curve of the shares of a codebook's entries, 140 wide and 28 high."""
    ordered = np.sort(shares)[::-1]
    picked = ordered[np.linspace(0, len(ordered) - 1, 96).astype(int)]
    # Even use lies in the middle; a hundred times more or less often reaches the borders.
    heights = np.clip((np.log10(np.maximum(picked * len(ordered), 1e-9)) + 2) / 4, 0, 1)
    points = " ".join(
        f"{index * 140 / 95:.1f},{28 - 28 * height:.1f}" for index, height in enumerate(heights)
    )
    used = float((shares > 0).mean())
    return UsageCurve(points, f"{100 * used:.0f} % of the entries occur")


@dataclass(frozen=True, slots=True)
class Bar:
    """A share of one as a bar of 120, with an optional mark where the reference lies."""

    summary: str
    width: float
    mark: float | None = None


def bar(share: float, summary: str, mark: float | None = None) -> Bar:
    """The bar of a share."""
    width, *place = _rounded(*(120 * min(max(each, 0), 1) for each in (share, mark or 0)))
    return Bar(summary, width, place[0] if mark is not None else None)


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell of the strip: its class in the style sheet and what it says when pointed at."""

    style: str
    title: str
    x: float = 0.0


@dataclass(frozen=True, slots=True)
class StripRow:
    """One line of the strip: a label and a cell per column."""

    label: str
    y: int
    cells: tuple[Cell, ...]


@dataclass(frozen=True, slots=True)
class Strip:
    """The heat strip: every shard a column, its verdict, codes and metrics the rows."""

    summary: str
    rows: tuple[StripRow, ...]
    cell_width: float
    height: int
    width: int = _STRIP_WIDTH
    cell_height: int = _CELL_HEIGHT


def shard_strip(judgement: Judgement) -> Strip:
    """The strip of a run."""
    columns = _columns(judgement.shards)
    step = (_STRIP_WIDTH - _LABEL_WIDTH) / max(len(columns), 1)
    shown = [name for name in _SHOWN if any(name in shard.changes for shard in judgement.shards)]
    lines = [
        ("Verdict", [_worst_verdict(group) for group in columns]),
        ("Codes equal", [_worst([_codes_cell(shard) for shard in group]) for group in columns]),
    ]
    for name in shown:
        cells = [_worst([_cell(shard, name) for shard in group]) for group in columns]
        lines.append((_STRIP_LABELS[name], cells))
    rows = tuple(
        StripRow(
            label,
            line * _ROW_HEIGHT,
            tuple(
                Cell(cell.style, cell.title, round(_LABEL_WIDTH + column * step, 2))
                for column, cell in enumerate(cells)
            ),
        )
        for line, (label, cells) in enumerate(lines)
    )
    bad = sum(shard.verdict != "ok" for shard in judgement.shards)
    summary = f"{plural(len(judgement.shards), 'shard')}, {bad:,} of them not ok"
    gap = 1.0 if step > 4 else 0.0
    return Strip(summary, rows, round(step - gap, 2), len(rows) * _ROW_HEIGHT)


def _columns(shards: Sequence[ShardVerdict]) -> list[Sequence[ShardVerdict]]:
    per_column = -(-len(shards) // _MAX_COLUMNS) or 1
    return [shards[start : start + per_column] for start in range(0, len(shards), per_column)]


def _worst_verdict(group: Sequence[ShardVerdict]) -> Cell:
    worst = max(group, key=lambda shard: VERDICTS.index(shard.verdict))
    faults = ", ".join(fault.name for fault in worst.faults)
    title = f"{worst.shard}: {worst.verdict}" + (f" ({faults})" if faults else "")
    return Cell(STYLES[worst.verdict], title)


def _worst(cells: Sequence[Cell]) -> Cell:
    return max(cells, key=lambda cell: _SEVERITY.index(cell.style))


def _codes_cell(shard: ShardVerdict) -> Cell:
    if not shard.num_compared:
        return Cell("none", f"{shard.shard}: no codes were compared")
    of_all = f"{shard.num_differing:,} of {plural(shard.num_compared, 'clip')}"
    title = f"{shard.shard}: {of_all} with other codes"
    # Differences that are no drift are those that another platform or precision explains.
    is_bad = shard.num_differing and shard.verdict in ("drift", "broken")
    return Cell("worse-3" if is_bad else "ok", title)


def _cell(shard: ShardVerdict, metric: str) -> Cell:
    change = shard.changes.get(metric)
    if change is None:
        return Cell("none", f"{shard.shard}: {_STRIP_LABELS[metric]} not measured")
    if metric == TOGETHER:
        if change.p_value is None or change.worse_by is None:
            return Cell("none", f"{shard.shard}: {_STRIP_LABELS[metric]} not judged")
        title = f"{shard.shard}: {_STRIP_LABELS[metric]} {number(change.worse_by)} SD worse"
        return Cell(_step(change.unusual, change.p_value), title)
    mean = f"{shard.shard}: {_STRIP_LABELS[metric]} {number(change.mean.estimate)}"
    if change.p_value is None or change.difference is None:
        return Cell("none", mean)
    title = f"{mean}, {number(change.difference.estimate)} from the reference"
    return Cell(_step(change.unusual, change.p_value), title)


def _step(unusual: bool, p_value: float) -> str:
    """The colour of a cell by how surprising its metric is before any correction."""
    if unusual:
        return "worse-3"
    for limit, style in ((0.001, "worse-2"), (0.02, "worse-1")):
        if p_value < limit:
            return style
    for limit, style in ((0.999, "better-2"), (0.98, "better-1")):
        if 1 > p_value > limit:
            return style
    return "ok"
