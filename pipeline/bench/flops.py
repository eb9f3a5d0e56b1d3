"""Counts the FLOP of a model: its matrix operations, recorded while it runs.

The recorded operations can be replayed alone, without the rest of the model. That time is the least
the model can take on this machine. `matmul_peak` measures the machine itself.
"""

import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from pipeline.bench.timing import Clock, synchronised, time_once

_aten = torch.ops.aten
_ATTENTION = {
    _aten._scaled_dot_product_flash_attention_for_cpu.default,
    _aten._scaled_dot_product_flash_attention.default,
    _aten._scaled_dot_product_efficient_attention.default,
    _aten._scaled_dot_product_cudnn_attention.default,
}
_PRODUCTS = {_aten.mm.default, _aten.bmm.default}
_SUMS_AND_PRODUCTS = {_aten.addmm.default, _aten.baddbmm.default}


@dataclass(frozen=True, slots=True)
class Operand:
    """Shape, layout, type and device of a tensor: enough to make another one like it."""

    shape: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: torch.dtype
    device: torch.device

    def make(self) -> Tensor:
        """A tensor of this shape and layout with small random values."""
        size = 1 + sum((n - 1) * s for n, s in zip(self.shape, self.stride, strict=True))
        values = torch.randn(max(size, 1), device=self.device).mul_(0.1).to(self.dtype)
        return values.as_strided(self.shape, self.stride)


@dataclass(frozen=True, slots=True)
class MatrixCall:
    """One matrix operation and its operands; calls with operands of equal shapes are equal."""

    operation: Callable[..., Any]
    arguments: tuple[Any, ...]
    options: tuple[tuple[str, Any], ...]
    flops: int

    def replay(self) -> Callable[[], object]:
        """A function that runs the operation on new operands."""
        arguments = tuple(_filled(a) for a in self.arguments)
        options = {name: _filled(value) for name, value in self.options}
        return lambda: self.operation(*arguments, **options)


@dataclass(frozen=True, slots=True)
class MatrixWork:
    """All matrix operations of one run of a model, each with its number of calls."""

    calls: Mapping[MatrixCall, int]

    @property
    def flops(self) -> int:
        """The floating point operations of all calls."""
        return sum(call.flops * times for call, times in self.calls.items())

    def replay_seconds(self, repetitions: int = 2, clock: Clock = time.perf_counter) -> float:
        """Seconds of all operations run one after the other, the best of a few for each."""
        total = 0.0
        with torch.inference_mode():
            for call, times in self.calls.items():
                action = synchronised(call.replay())
                action()
                best = min(time_once(action, clock) for _ in range(repetitions))
                total += best * times
        return total


class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch leaves it untyped
    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.calls: Counter[MatrixCall] = Counter()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        options = kwargs or {}
        if not _counts(func):
            # Under inference mode a composite operation arrives as one; its parts are counted.
            with self:
                result = func.decompose(*args, **options)
            if result is not NotImplemented:
                return result
        result = func(*args, **options)
        if _counts(func):
            described = tuple(_described(a) for a in args)
            named = tuple(sorted((name, _described(v)) for name, v in options.items()))
            self.calls[MatrixCall(func, described, named, _flops(func, args, result))] += 1
        return result


def record_matrix_work(action: Callable[[], object]) -> MatrixWork:
    """Run an action once and return the matrix operations that it ran in this thread."""
    recorder: AbstractContextManager[_Recorder] = _Recorder()
    with recorder as recording:
        action()
    return MatrixWork(dict(recording.calls))


def matmul_peak(
    device: str = "cpu",
    dtype: torch.dtype = torch.float32,
    clock: Clock = time.perf_counter,
) -> float:
    """The best FLOP/s of a few large matrix products on this device, at its thread count."""
    shapes = [(1024, 1024, 1024), (1024, 768, 3072), (2048, 2048, 2048)]
    if device != "cpu":
        shapes.append((8192, 8192, 8192))
    rates = []
    with torch.inference_mode():
        for m, k, n in shapes:
            left = torch.randn(m, k, device=device).to(dtype)
            right = torch.randn(k, n, device=device).to(dtype)
            action = synchronised(partial(torch.matmul, left, right))
            action()
            rates.append(2 * m * k * n / min(time_once(action, clock) for _ in range(5)))
    return max(rates)


def _counts(func: Any) -> bool:
    return (
        func in _ATTENTION
        or func in _PRODUCTS
        or func in _SUMS_AND_PRODUCTS
        or func is _aten.convolution.default
        or func._schema.name == "aten::mkldnn_rnn_layer"
    )


def _flops(func: Any, args: Any, result: Any) -> int:
    if func in _PRODUCTS:
        return 2 * int(result.numel()) * int(args[0].shape[-1])
    if func in _SUMS_AND_PRODUCTS:
        return 2 * int(result.numel()) * int(args[1].shape[-1])
    if func in _ATTENTION:
        query, key, value = args[:3]
        heads = query.shape[0] * query.shape[1] * query.shape[2] * key.shape[2]
        return 2 * int(heads) * int(query.shape[3] + value.shape[3])
    if func is _aten.convolution.default:
        weight, transposed = args[1], args[6]
        per_place = weight.numel() // weight.shape[0]
        places = args[0].numel() if transposed else result.numel()
        return 2 * int(places) * int(per_place)
    # One LSTM layer: input and recurrent weights are used once for every step.
    steps = args[0].shape[0] * args[0].shape[1]
    return 2 * int(steps) * int(args[1].numel() + args[2].numel())


def _described(value: Any) -> Any:
    if isinstance(value, Tensor):
        return Operand(tuple(value.shape), value.stride(), value.dtype, value.device)
    if isinstance(value, list | tuple):
        return tuple(_described(v) for v in value)
    return value


def _filled(value: Any) -> Any:
    if isinstance(value, Operand):
        return value.make()
    if isinstance(value, tuple):
        return [_filled(v) for v in value]
    return value
