"""Timing: one call, repeated calls, and several ways of doing one thing compared with each other.

Other work on the machine disturbs a comparison, so the ways run in turn, once per round.
"""

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

Clock = Callable[[], float]


@dataclass(frozen=True, slots=True)
class Timings:
    """Seconds of each repetition, in the order in which they ran."""

    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        """The median repetition."""
        return statistics.median(self.seconds)

    @property
    def best(self) -> float:
        """The fastest repetition, which other work disturbed least."""
        return min(self.seconds)


@dataclass(frozen=True, slots=True)
class Ratio:
    """How many times longer one way took than another, over paired repetitions."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.median:.2f} ({self.low:.2f}–{self.high:.2f})"


def interleave(
    actions: Mapping[str, Callable[[], object]],
    repetitions: int,
    *,
    warm_up: bool = True,
    clock: Clock = time.perf_counter,
) -> dict[str, Timings]:
    """Run every action once per round, so that other work on the machine slows all of them alike.

    For actions of one thread, the clock `time.process_time` leaves out other processes.
    """
    if warm_up:
        for action in actions.values():
            action()
    seconds: dict[str, list[float]] = {name: [] for name in actions}
    for round_number in range(repetitions):
        names = list(actions)[:: 1 if round_number % 2 == 0 else -1]
        for name in names:
            seconds[name].append(time_once(actions[name], clock))
    return {name: Timings(tuple(values)) for name, values in seconds.items()}


def paired_ratio(slow: Timings, fast: Timings) -> Ratio:
    """The ratio of two ways in each round: its median, lowest and highest."""
    ratios = [a / b for a, b in zip(slow.seconds, fast.seconds, strict=True)]
    return Ratio(statistics.median(ratios), min(ratios), max(ratios))


def time_once(action: Callable[[], object], clock: Clock = time.perf_counter) -> float:
    """Seconds of one call."""
    started = clock()
    action()
    return clock() - started


def repeat_for(action: Callable[[], object], seconds: float, at_most: int = 9) -> Timings:
    """Repeat an action for about `seconds`, at least once, without a warm-up."""
    taken: list[float] = []
    while not taken or (sum(taken) + taken[-1] < seconds and len(taken) < at_most):
        taken.append(time_once(action))
    return Timings(tuple(taken))


def synchronised(action: Callable[[], object]) -> Callable[[], object]:
    """The action and then a wait for the GPU, so that the time of its kernels is included."""
    import torch

    if not torch.cuda.is_available():
        return action

    def run() -> None:
        action()
        torch.cuda.synchronize()

    return run
