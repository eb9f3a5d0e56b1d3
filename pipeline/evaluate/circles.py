"""A plot of systems as circles: quality upwards, meaning to the right, the area is the bit rate."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from math import sqrt

from pipeline.audit.report.plots import number

_WIDTH, _HEIGHT = 460, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 16, 14, 40
_SMALLEST, _LARGEST = 4.0, 22.0
_TICKS = 4


@dataclass(frozen=True, slots=True)
class Circle:
    """One system; the area of its circle is its bit rate."""

    name: str
    x: float
    y: float
    bits_per_second: float


@dataclass(frozen=True, slots=True)
class Axis:
    """What an axis shows; a reversed one has small values where large ones are expected."""

    label: str
    is_reversed: bool = False


def circle_plot(circles: Sequence[Circle], across: Axis, upwards: Axis) -> str:
    """The plot as SVG; better is to the right and up, as its axes are."""
    xs = _Scale.of([c.x for c in circles], _LEFT, _WIDTH - _RIGHT, across.is_reversed)
    ys = _Scale.of([c.y for c in circles], _HEIGHT - _BOTTOM, _TOP, upwards.is_reversed)
    most = max(circle.bits_per_second for circle in circles)
    # Large ones first, so that none hides a small one.
    drawn = sorted(circles, key=lambda circle: -circle.bits_per_second)
    parts = [_frame(xs, ys, across, upwards)]
    parts += [_circle(each, xs, ys, sqrt(each.bits_per_second / most)) for each in drawn]
    summary = "; ".join(
        f"{each.name}: {across.label} {number(each.x)}, {upwards.label} {number(each.y)}"
        for each in circles
    )
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" role="img" '
        f'aria-label="{escape(summary, quote=True)}">{"".join(parts)}</svg>'
    )


@dataclass(frozen=True, slots=True)
class _Scale:
    low: float
    high: float
    first: float
    last: float

    @classmethod
    def of(cls, values: Sequence[float], first: float, last: float, is_reversed: bool) -> "_Scale":
        """From values to places, with room for circles at both ends."""
        low, high = min(values), max(values)
        room = 0.2 * (high - low) or 0.1 * abs(high) or 0.1
        low, high = low - room, high + room
        return cls(high, low, first, last) if is_reversed else cls(low, high, first, last)

    def at(self, value: float) -> float:
        """The place of a value."""
        return self.first + (value - self.low) / (self.high - self.low) * (self.last - self.first)

    def ticks(self) -> list[float]:
        """Values to be written beside the axis."""
        step = (self.high - self.low) / _TICKS
        return [self.low + step * (place + 0.5) for place in range(_TICKS)]


def _frame(xs: _Scale, ys: _Scale, across: Axis, upwards: Axis) -> str:
    floor, middle = _HEIGHT - _BOTTOM, (_LEFT + _WIDTH - _RIGHT) / 2
    lines = (
        f'<line class="axis" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{floor}" y2="{floor}"/>'
        f'<line class="axis" x1="{_LEFT}" x2="{_LEFT}" y1="{_TOP}" y2="{floor}"/>'
    )
    below = "".join(
        f'<text x="{xs.at(each):.0f}" y="{floor + 15}" text-anchor="middle">{number(each)}</text>'
        for each in xs.ticks()
    )
    beside = "".join(
        f'<text x="{_LEFT - 6}" y="{ys.at(each) + 4:.0f}" text-anchor="end">{number(each)}</text>'
        for each in ys.ticks()
    )
    names = (
        f'<text x="{middle:.0f}" y="{_HEIGHT - 6}" text-anchor="middle">'
        f"{escape(across.label)}</text>"
        f'<text x="{_LEFT + 6}" y="{_TOP + 4}">{escape(upwards.label)}</text>'
    )
    return lines + below + beside + names


def _circle(circle: Circle, xs: _Scale, ys: _Scale, share: float) -> str:
    x, y, radius = xs.at(circle.x), ys.at(circle.y), max(_SMALLEST, _LARGEST * share)
    anchor = "start" if x < _WIDTH / 2 else "end"
    beside = x + (radius + 4) * (1 if anchor == "start" else -1)
    about = f"{circle.name}, {circle.bits_per_second:,.0f} bit/s"
    return (
        f'<g class="bars"><circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}" fill-opacity="0.55">'
        f"<title>{escape(about)}</title></circle></g>"
        f'<text x="{beside:.0f}" y="{y + 4:.0f}" text-anchor="{anchor}">'
        f"{escape(circle.name)}</text>"
    )
