"""What the device did during an action, by torch's profiler: kernels, copies, waits and gaps."""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

_TOP = 12
_NAME_WIDTH = 90
_WAITS = ("cudaStreamSynchronize", "cudaDeviceSynchronize", "cudaEventSynchronize")


@dataclass(frozen=True, slots=True)
class Kernel:
    """All launches of one kernel; of one torch operation where there is no GPU."""

    name: str
    calls: int
    milliseconds: float


@dataclass(frozen=True, slots=True)
class Trace:
    """Times in milliseconds. On a CPU only `launches` (operations) and `top` are filled."""

    launches: int
    busy: float  # at least one kernel or copy was running
    span: float  # from the first to the last
    gaps: int  # times that nothing ran for more than 10 µs
    longest_gap: float
    copies: dict[str, int]
    waits: dict[str, int]
    top: list[Kernel]

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        return asdict(self)


def trace(action: Callable[[], object], device: torch.device) -> Trace:
    """Run an action once under the profiler; the action is to be warm."""
    on_gpu = device.type == "cuda"
    kinds = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]
    with profile(activities=kinds) as profiler:
        action()
        if on_gpu:
            torch.cuda.synchronize()
    events = list(profiler.events() or [])
    return of_gpu(events) if on_gpu else _of_cpu(events)


def of_gpu(events: Iterable[Any]) -> Trace:
    """From the events of a profile; busy time is a union, as kernels of several streams overlap."""
    events = list(events)
    ran = [
        each
        for each in events
        if each.device_type.name == "CUDA" and not getattr(each, "is_user_annotation", False)
    ]
    spans = sorted((each.time_range.start, each.time_range.end) for each in ran)
    busy, gaps, end = 0.0, [], spans[0][0] if spans else 0.0
    for start, stop in spans:
        if start > end:
            gaps.append(start - end)
        busy += max(0.0, stop - max(start, end))
        end = max(end, stop)
    moved = Counter(each.name.split(" (")[0] for each in ran if each.name.startswith("Mem"))
    waits = Counter(each.name for each in events if each.name in _WAITS)
    kernels = [each for each in ran if not each.name.startswith("Mem")]
    return Trace(
        launches=len(kernels),
        busy=busy / 1e3,
        span=(end - spans[0][0]) / 1e3 if spans else 0.0,
        gaps=sum(gap > 10 for gap in gaps),
        longest_gap=max(gaps, default=0.0) / 1e3,
        copies=dict(moved),
        waits=dict(waits),
        top=_top((each.name, each.time_range.elapsed_us()) for each in kernels),
    )


def _of_cpu(events: Iterable[Any]) -> Trace:
    operations = [each for each in events if each.name.startswith("aten::")]
    top = _top((each.name, each.self_cpu_time_total) for each in operations)
    return Trace(len(operations), 0.0, 0.0, 0, 0.0, {}, {}, top)


def _top(times: Iterable[tuple[str, float]]) -> list[Kernel]:
    calls: Counter[str] = Counter()
    total: Counter[str] = Counter()
    for name, microseconds in times:
        calls[name] += 1
        total[name] += microseconds  # type: ignore[assignment]  # a Counter of floats
    return [
        Kernel(name[:_NAME_WIDTH], calls[name], round(spent / 1e3, 3))
        for name, spent in total.most_common(_TOP)
    ]
