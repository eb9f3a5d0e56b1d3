"""Geometry of a plot of systems as circles: quality upwards, meaning to the right.

The area of a circle is its bit rate. `templates/evaluate.html.j2` draws it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

from pipeline.audit.report.wording import number

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


@dataclass(frozen=True, slots=True)
class DrawnCircle:
    """A circle with its name beside it."""

    x: float
    y: float
    radius: float
    name: str
    about: str
    name_x: int
    anchor: str


@dataclass(frozen=True, slots=True)
class Tick:
    """A value beside an axis, and its place along it."""

    place: int
    text: str


@dataclass(frozen=True, slots=True)
class CirclePlot:
    """The plot; better is to the right and up, as its axes are."""

    summary: str
    across: str
    upwards: str
    circles: tuple[DrawnCircle, ...]
    ticks_below: tuple[Tick, ...]
    ticks_beside: tuple[Tick, ...]
    width: int = _WIDTH
    height: int = _HEIGHT
    left: int = _LEFT
    right: int = _WIDTH - _RIGHT
    top: int = _TOP
    floor: int = _HEIGHT - _BOTTOM


def circle_plot(circles: Sequence[Circle], across: Axis, upwards: Axis) -> CirclePlot:
    """Place the circles between the axes."""
    xs = _Scale.of([c.x for c in circles], _LEFT, _WIDTH - _RIGHT, across.is_reversed)
    ys = _Scale.of([c.y for c in circles], _HEIGHT - _BOTTOM, _TOP, upwards.is_reversed)
    most = max(circle.bits_per_second for circle in circles)
    # Large ones first, so that none hides a small one.
    drawn = sorted(circles, key=lambda circle: -circle.bits_per_second)
    summary = "; ".join(
        f"{each.name}: {across.label} {number(each.x)}, {upwards.label} {number(each.y)}"
        for each in circles
    )
    return CirclePlot(
        summary,
        across.label,
        upwards.label,
        tuple(_drawn(each, xs, ys, sqrt(each.bits_per_second / most)) for each in drawn),
        xs.ticks(),
        ys.ticks(),
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

    def ticks(self) -> tuple[Tick, ...]:
        """Values to be written beside the axis."""
        step = (self.high - self.low) / _TICKS
        values = (self.low + step * (place + 0.5) for place in range(_TICKS))
        return tuple(Tick(round(self.at(value)), number(value)) for value in values)


def _drawn(circle: Circle, xs: _Scale, ys: _Scale, share: float) -> DrawnCircle:
    x, radius = xs.at(circle.x), max(_SMALLEST, _LARGEST * share)
    anchor = "start" if x < _WIDTH / 2 else "end"
    return DrawnCircle(
        x=round(x, 1),
        y=round(ys.at(circle.y), 1),
        radius=round(radius, 1),
        name=circle.name,
        about=f"{circle.name}, {circle.bits_per_second:,.0f} bit/s",
        name_x=round(x + (radius + 4) * (1 if anchor == "start" else -1)),
        anchor=anchor,
    )
