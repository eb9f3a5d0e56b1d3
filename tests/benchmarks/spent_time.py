"""Wall and processor seconds of ways that spread over processes, and their table."""

import time
from collections.abc import Iterator

import psutil

from pipeline.bench.timing import Timings, paired_ratio


class Spent:
    """Seconds per way, round by round; the first way is what the others are compared with."""

    def __init__(self) -> None:
        self._wall: dict[str, list[float]] = {}
        self._cpu: dict[str, list[float]] = {}

    def add(self, name: str, wall_seconds: float, cpu_seconds: float) -> None:
        """One round of one way."""
        self._wall.setdefault(name, []).append(wall_seconds)
        self._cpu.setdefault(name, []).append(cpu_seconds)

    def lines(self, audio_seconds: float) -> Iterator[str]:
        """A table of rates and of ratios to the first way."""
        yield "| way | × real time | per core | wall over ours | core seconds over ours |"
        yield "|---|---|---|---|---|"
        first = next(iter(self._wall))
        for name in self._wall:
            wall, cpu = Timings(tuple(self._wall[name])), Timings(tuple(self._cpu[name]))
            rates = [audio_seconds / times.median for times in (wall, cpu)]
            row = f"| {name} | {rates[0]:,.0f} | {rates[1]:,.0f} "
            if name == first:
                yield row + "| | |"
                continue
            wall_ratio = paired_ratio(wall, Timings(tuple(self._wall[first])))
            cpu_ratio = paired_ratio(cpu, Timings(tuple(self._cpu[first])))
            yield row + f"| {wall_ratio} | {cpu_ratio} |"


def wait_for_quiet(limit_seconds: float = 30.0) -> None:
    """Until what ran before has ended its processes: they are not the next way's burden."""
    deadline = time.monotonic() + limit_seconds
    while psutil.cpu_percent(interval=1.0) > 10.0 and time.monotonic() < deadline:
        pass


def family_cpu_seconds() -> dict[int, float]:
    """Processor seconds of this process and of everything that lives below it, by process."""
    own = psutil.Process()
    seconds = {}
    for process in [own, *own.children(recursive=True)]:
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        seconds[process.pid] = times.user + times.system
    return seconds
