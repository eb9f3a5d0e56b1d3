"""Geometry of a plot of systems as circles: quality upwards, meaning to the right.

The area of a circle is its bit rate. `templates/evaluate.html.j2` draws it.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from math import ceil, floor, log10, sqrt

from pipeline.audit.report.wording import number

_WIDTH, _HEIGHT = 460, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 16, 14, 40
_SMALLEST, _LARGEST = 4.0, 22.0
_MOST_TICKS = 5
_ROUNDS = 3
_LONGEST_NAME = 28
# Of a letter in the style sheet's size, about, and between a circle and its name.
_LETTER_WIDTH, _LETTER_HEIGHT, _GAP = 8.4, 14.0, 4.0


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
    """A circle, and where its name is: the middle of its base line."""

    x: float
    y: float
    radius: float
    name: str
    about: str
    name_x: float
    name_y: float


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
    placed = [
        (xs.at(each.x), ys.at(each.y), max(_SMALLEST, _LARGEST * sqrt(each.bits_per_second / most)))
        for each in circles
    ]
    drawn = _with_names(circles, placed, upwards)
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
        """Round values to be written beside the axis."""
        low, high = sorted((self.low, self.high))
        step = _round_step((high - low) / _MOST_TICKS)
        places = max(0, -floor(log10(step)))
        numbers = range(ceil(low / step), floor(high / step) + 1)
        return tuple(Tick(round(self.at(n * step)), f"{n * step:,.{places}f}") for n in numbers)


def _round_step(least: float) -> float:
    """The next of 1, 2, 5, 10, 20 and so on."""
    power: float = 10.0 ** floor(log10(least))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= least)


@dataclass(frozen=True, slots=True)
class _Box:
    left: float
    top: float
    right: float
    bottom: float

    @classmethod
    def of_name(cls, name: str, x: float, y: float) -> "_Box":
        """The room of a name around the middle of its base line, moved into the plot."""
        half = min(_LETTER_WIDTH * (len(name) + 1), _WIDTH - _LEFT) / 2
        x = min(max(x, _LEFT + half), _WIDTH - half)
        return cls(x - half, y - _LETTER_HEIGHT, x + half, y)

    def overlap(self, other: "_Box") -> float:
        """The area that both cover."""
        width = min(self.right, other.right) - max(self.left, other.left)
        height = min(self.bottom, other.bottom) - max(self.top, other.top)
        return max(0.0, width) * max(0.0, height)


_PLOT = _Box(_LEFT, 0, _WIDTH, _HEIGHT - _BOTTOM)


def _with_names(
    circles: Sequence[Circle], placed: Sequence[tuple[float, float, float]], upwards: Axis
) -> list[DrawnCircle]:
    """Circles with their names where these hide no circle and no other name, if they can."""
    names = _short_names(circles)
    boxes = _boxes(names, placed, upwards)
    return [
        DrawnCircle(
            x=round(x, 1),
            y=round(y, 1),
            radius=round(radius, 1),
            name=name,
            about=f"{circle.name}, {circle.bits_per_second:,.0f} bit/s",
            name_x=round((box.left + box.right) / 2, 1),
            name_y=round(box.bottom, 1),
        )
        for circle, name, box, (x, y, radius) in zip(circles, names, boxes, placed, strict=True)
    ]


def _boxes(
    names: Sequence[str], placed: Sequence[tuple[float, float, float]], upwards: Axis
) -> list[_Box]:
    """The room of each name."""
    label = _Box(_LEFT, 0, _LEFT + _LETTER_WIDTH * (len(upwards.label) + 1), _TOP + 6)
    taken = [label, *(_Box(x - r, y - r, x + r, y + r) for x, y, r in placed)]
    boxes: dict[int, _Box] = {}
    # Again, because a name may have better places when those after it have found theirs.
    for place in [*range(len(names))] * _ROUNDS:
        others = [*taken, *(box for other, box in boxes.items() if other != place)]
        wanted = _places(names[place], *placed[place])
        boxes[place] = min(wanted, key=partial(_hidden, others))
    return [boxes[place] for place in range(len(names))]


def _hidden(taken: Sequence[_Box], box: _Box) -> float:
    """What a name would hide, and what of it would be outside."""
    area = (box.right - box.left) * (box.bottom - box.top)
    return sum(box.overlap(each) for each in taken) + area - box.overlap(_PLOT)


def _places(name: str, x: float, y: float, radius: float) -> Iterator[_Box]:
    """Above, below, beside, and a line further away."""
    above, below = y - radius - _GAP, y + radius + _LETTER_HEIGHT
    beside = radius + _LETTER_WIDTH * (len(name) + 1) / 2
    yield _Box.of_name(name, x, above)
    yield _Box.of_name(name, x, below)
    yield _Box.of_name(name, x + beside, y + _GAP)
    yield _Box.of_name(name, x - beside, y + _GAP)
    for line in (1, 2):
        yield _Box.of_name(name, x, above - line * _LETTER_HEIGHT)
        yield _Box.of_name(name, x, below + line * _LETTER_HEIGHT)


def _short_names(circles: Sequence[Circle]) -> list[str]:
    """Names without the folders before them, where that tells them apart."""
    sides = [each.name.partition(",") for each in circles]
    short = [source.rstrip("/").rpartition("/")[2] + comma + rest for source, comma, rest in sides]
    counts = Counter(short)
    names = [
        name if counts[name] == 1 else circle.name
        for circle, name in zip(circles, short, strict=True)
    ]
    return [
        name if len(name) <= _LONGEST_NAME else f"…{name[1 - _LONGEST_NAME :]}" for name in names
    ]
