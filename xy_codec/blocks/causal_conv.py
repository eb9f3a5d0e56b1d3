"""Convolutions that look only backwards in time; zeros stand before a clip's first step.

Both are also one product for each step that they reach back, which is how packs run them
(`xy_codec/engine/causal.py`): the taps are a step of the slower rate and those before it, the
latest first, each with what it holds of the faster rate side by side.
"""

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class CausalConv1d(nn.Conv1d):
    """Steps `[B, C, T]` to `ceil(T / stride)` steps.

    The kernel is 1 or more times the stride. Where T is no multiple of the stride, zeros behind
    the end complete the last window.
    """

    def __init__(self, width_in: int, width_out: int, kernel: int, stride: int = 1) -> None:
        super().__init__(width_in, width_out, kernel, stride)

    def forward(self, steps: Tensor) -> Tensor:
        """Convolve."""
        (kernel,), (stride,) = self.kernel_size, self.stride
        return super().forward(F.pad(steps, (kernel - stride, -steps.shape[-1] % stride)))

    @property
    def num_taps(self) -> int:
        """How many steps of the slower rate meet in one of them."""
        return self.kernel_size[0] // self.stride[0]

    def join(self, *taps: Tensor) -> Tensor:
        """Taps `[.., stride * width in]` to steps `[.., width out]`."""
        parts = torch.split(self.weight, self.stride[0], dim=-1)
        matrices = [part.transpose(1, 2).flatten(1) for part in parts]
        return _sum_of_products(taps, matrices[::-1], self.bias)


class CausalConvTranspose1d(nn.ConvTranspose1d):
    """Steps `[B, C, T]` to `T * stride` steps; what reaches behind the end is cut."""

    def __init__(self, width_in: int, width_out: int, kernel: int, stride: int) -> None:
        super().__init__(width_in, width_out, kernel, stride)

    def forward(self, steps: Tensor, output_size: list[int] | None = None) -> Tensor:
        """Convolve."""
        num_steps = steps.shape[-1] * self.stride[0]
        return super().forward(steps, output_size)[..., :num_steps]

    @property
    def num_taps(self) -> int:
        """How many steps of the slower rate meet in what is made of one."""
        return self.kernel_size[0] // self.stride[0]

    def join(self, *taps: Tensor) -> Tensor:
        """Taps `[.., width in]` to `[.., stride * width out]`."""
        parts = torch.split(self.weight, self.stride[0], dim=-1)
        matrices = [part.permute(2, 1, 0).flatten(0, 1) for part in parts]
        bias = cast(Tensor, self.bias).repeat(self.stride[0])
        return _sum_of_products(taps, matrices, bias)


def _sum_of_products(
    taps: tuple[Tensor, ...], matrices: list[Tensor], bias: Tensor | None
) -> Tensor:
    """Not one product of all taps: the libraries split wide ones by the number of threads."""
    total = F.linear(taps[0], matrices[0], bias)
    for tap, matrix in zip(taps[1:], matrices[1:], strict=True):
        total = total + F.linear(tap, matrix)
    return total
