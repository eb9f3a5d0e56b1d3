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
_LONGEST_NAME = 28


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
    """A circle with its name above or below it."""

    x: float
    y: float
    radius: float
    name: str
    about: str
    name_y: float
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
    # Neighbours have their names on different sides.
    across_order = sorted(circles, key=lambda circle: circle.x)
    drawn = [
        _drawn(each, xs, ys, sqrt(each.bits_per_second / most), is_above=place % 2 == 0)
        for place, each in enumerate(across_order)
    ]
    summary = "; ".join(
        f"{each.name}: {across.label} {number(each.x)}, {upwards.label} {number(each.y)}"
        for each in circles
    )
    return CirclePlot(
        summary,
        across.label,
        upwards.label,
        # Large ones first, so that none hides a small one.
        tuple(sorted(drawn, key=lambda circle: -circle.radius)),
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
        room = 0.3 * (high - low) or 0.1 * abs(high) or 0.1
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


def _drawn(circle: Circle, xs: _Scale, ys: _Scale, share: float, *, is_above: bool) -> DrawnCircle:
    x, y, radius = xs.at(circle.x), ys.at(circle.y), max(_SMALLEST, _LARGEST * share)
    third = (_WIDTH - _LEFT - _RIGHT) / 3
    name = circle.name
    return DrawnCircle(
        x=round(x, 1),
        y=round(y, 1),
        radius=round(radius, 1),
        name=name if len(name) <= _LONGEST_NAME else f"…{name[1 - _LONGEST_NAME :]}",
        about=f"{name}, {circle.bits_per_second:,.0f} bit/s",
        name_y=round(y - radius - 5 if is_above else y + radius + 14, 1),
        anchor="start" if x < _LEFT + third else "end" if x > _LEFT + 2 * third else "middle",
    )
