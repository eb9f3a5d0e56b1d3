"""Steps side by side and apart again; there is nothing to learn in it.

A channel's neighbouring steps become neighbouring channels: with two channels a, b and size 2 the
steps (a0 b0), (a1 b1) are the one step (a0 a1 b0 b1).
"""

from torch import Tensor, nn


class Patch(nn.Module):
    """`size` steps become one."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def forward(self, steps: Tensor) -> Tensor:
        """Steps `[.., size * T, C]` to `[.., T, size * C]`."""
        groups = steps.view(*steps.shape[:-2], -1, self.size, steps.shape[-1])
        return groups.transpose(-2, -1).flatten(-2)


class Unpatch(nn.Module):
    """One step becomes `size`."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def forward(self, steps: Tensor) -> Tensor:
        """Steps `[.., T, size * C]` to `[.., size * T, C]`."""
        groups = steps.view(*steps.shape[:-1], -1, self.size)
        return groups.transpose(-2, -1).flatten(-3, -2)
