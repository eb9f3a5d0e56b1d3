"""Inline SVG plots of the report: distributions, the strip of shards, codebooks.

Colours are classes of the page's style sheet, so one plot serves light and dark.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from math import floor, log10

import numpy as np

from pipeline.audit.judge.inference import Values

_WIDTH, _HEIGHT, _FLOOR = 280, 104, 82
_BINS = 28
_LABEL_WIDTH, _CELL_HEIGHT = 132, 20
_STRIP_WIDTH = 1000


def number(value: float, digits: int = 3) -> str:
    """A figure in few digits and at most three decimals, as people read it."""
    if not np.isfinite(value):
        return "–"
    if abs(value) < 0.0005:
        return "0"
    places = max(0, digits - 1 - floor(log10(abs(value))))
    return f"{value:,.{min(places, 3)}f}".replace("-", "−")


def signed(value: float) -> str:
    """A difference as people read it; one that rounds to nothing has no sign."""
    text = number(value)
    return f"+{text}" if value > 0 and text != "0" else text


@dataclass(frozen=True, slots=True)
class Histogram:
    """Shares of values between common edges."""

    edges: Values
    shares: Values


def common_edges(samples: Sequence[Values]) -> Values:
    """Bin edges that show all but the outermost half percent of every sample."""
    filled = [sample for sample in samples if len(sample)]
    low = min(float(np.quantile(sample, 0.005)) for sample in filled)
    high = max(float(np.quantile(sample, 0.995)) for sample in filled)
    if high - low < 1e-9:
        low, high = low - 0.5, high + 0.5
    return np.linspace(low, high, _BINS + 1)


def histogram(sample: Values, edges: Values) -> Histogram:
    """The histogram of a sample; values beyond the edges count in the outermost bins."""
    counts, _ = np.histogram(np.clip(sample, edges[0], edges[-1]), edges)
    return Histogram(edges, counts / max(len(sample), 1))


def distribution_plot(label: str, sample: Values, reference: Values | None) -> str:
    """Bars of this run with the reference as a line, both with their means marked."""
    edges = common_edges([sample] if reference is None else [sample, reference])
    own = histogram(sample, edges)
    other = histogram(reference, edges) if reference is not None else None
    top = max(float(own.shares.max()), float(other.shares.max()) if other else 0.0, 1e-9)
    step = _WIDTH / _BINS
    bars = "".join(
        f'<rect x="{index * step + 0.5:.1f}" y="{_FLOOR - _FLOOR * share / top:.1f}" '
        f'width="{step - 1:.1f}" height="{_FLOOR * share / top:.1f}"/>'
        for index, share in enumerate(own.shares)
        if share
    )
    parts = [f'<g class="bars">{bars}</g>']
    if other is not None and reference is not None:
        points = " ".join(
            f"{index * step:.1f},{_FLOOR - _FLOOR * share / top:.1f} "
            f"{(index + 1) * step:.1f},{_FLOOR - _FLOOR * share / top:.1f}"
            for index, share in enumerate(other.shares)
        )
        parts.append(f'<polyline class="reference" points="{points}"/>')
        parts.append(_mean_mark(float(reference.mean()), edges, "reference-mean"))
    parts.append(_mean_mark(float(sample.mean()), edges, "own-mean"))
    summary = f"{label}: mean {number(float(sample.mean()))} over {len(sample):,} clips"
    if reference is not None:
        summary += f", reference mean {number(float(reference.mean()))}"
    return _svg(_WIDTH, _HEIGHT, summary, "".join(parts) + _axis(edges), "distribution")


def _mean_mark(mean: float, edges: Values, name: str) -> str:
    x = _WIDTH * (mean - edges[0]) / (edges[-1] - edges[0])
    x = min(max(x, 1.0), _WIDTH - 1.0)
    return f'<line class="{name}" x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{_FLOOR}"/>'


def _axis(edges: Values) -> str:
    ticks = [(0.0, "start"), (0.5, "middle"), (1.0, "end")]
    labels = "".join(
        f'<text x="{_WIDTH * place:.0f}" y="{_FLOOR + 16}" text-anchor="{anchor}">'
        f"{number(float(edges[0] + place * (edges[-1] - edges[0])))}</text>"
        for place, anchor in ticks
    )
    return f'<line class="axis" x1="0" x2="{_WIDTH}" y1="{_FLOOR}" y2="{_FLOOR}"/>{labels}'


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell of the strip: its class in the style sheet and what it says when pointed at."""

    style: str
    title: str


@dataclass(frozen=True, slots=True)
class StripRow:
    """One line of the strip: a label and a cell per column."""

    label: str
    cells: Sequence[Cell]


def shard_strip(rows: Sequence[StripRow], summary: str) -> str:
    """A strip of coloured cells: a column per shard (or per few of them), a row per figure."""
    columns = len(rows[0].cells) if rows else 0
    step = (_STRIP_WIDTH - _LABEL_WIDTH) / max(columns, 1)
    gap = 1.0 if step > 4 else 0.0
    drawn = []
    for line, row in enumerate(rows):
        y = line * (_CELL_HEIGHT + 3)
        drawn.append(f'<text x="0" y="{y + 14}">{escape(row.label)}</text>')
        drawn.extend(
            f'<rect class="cell {cell.style}" x="{_LABEL_WIDTH + column * step:.2f}" y="{y}" '
            f'width="{step - gap:.2f}" height="{_CELL_HEIGHT}"><title>{escape(cell.title)}'
            "</title></rect>"
            for column, cell in enumerate(row.cells)
        )
    return _svg(_STRIP_WIDTH, len(rows) * (_CELL_HEIGHT + 3), summary, "".join(drawn), "strip")


def usage_curve(shares: Values) -> str:
    """How evenly one codebook is used: entries from most to least frequent, on a log scale."""
    ordered = np.sort(shares)[::-1]
    picked = ordered[np.linspace(0, len(ordered) - 1, 96).astype(int)]
    # Even use lies in the middle; a hundred times more or less often reaches the borders.
    heights = np.clip((np.log10(np.maximum(picked * len(ordered), 1e-9)) + 2) / 4, 0, 1)
    points = " ".join(
        f"{index * 140 / 95:.1f},{28 - 28 * height:.1f}" for index, height in enumerate(heights)
    )
    even = 14.0
    drawn = (
        f'<line class="reference-mean" x1="0" x2="140" y1="{even:.1f}" y2="{even:.1f}"/>'
        f'<polygon class="bars" points="0,28 {points} 140,28"/>'
    )
    used = float((shares > 0).mean())
    return _svg(140, 28, f"{100 * used:.0f} % of the entries occur", drawn, "usage")


def bar(share: float, summary: str, mark: float | None = None) -> str:
    """A share of one as a bar, with an optional mark where the reference lies."""
    drawn = (
        '<rect class="track" width="120" height="10" rx="2"/>'
        f'<rect class="bars" width="{120 * min(max(share, 0), 1):.1f}" height="10" rx="2"/>'
    )
    if mark is not None:
        x = 120 * min(max(mark, 0), 1)
        drawn += f'<line class="own-mean" x1="{x:.1f}" x2="{x:.1f}" y1="-2" y2="12"/>'
    return _svg(120, 10, summary, drawn, "bar")


def _svg(width: int, height: int, summary: str, content: str, name: str) -> str:
    return (
        f'<svg class="{name}" viewBox="0 0 {width} {height}" role="img" '
        f'aria-label="{escape(summary, quote=True)}">{content}</svg>'
    )
