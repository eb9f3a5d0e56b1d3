"""Convolutions that look both ways, for clips that are padded to one length.

Every product has one shape, so that a clip's bits do not depend on the number of threads either.
"""

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def convolve_inside(conv: nn.Conv1d, steps: Tensor, outside: Tensor) -> Tensor:
    """Steps `[T, width in]` to `[T, width out]`, a product for each tap of an odd kernel.

    `outside` `[T, 1]` says which steps belong to no clip: these must be, and their results are, 0.
    """
    (kernel,), (dilation,) = conv.kernel_size, conv.dilation
    taps = conv.weight.permute(2, 1, 0).contiguous()
    reach = kernel // 2 * dilation
    padded = F.pad(steps, (0, 0, reach, reach))
    total = torch.addmm(cast(Tensor, conv.bias), padded[: len(steps)], taps[0])
    for number in range(1, kernel):
        start = number * dilation
        total.addmm_(padded[start : start + len(steps)], taps[number])
    # Not a product with 0, which would keep what is infinite or NaN for the next clip to read.
    return total.masked_fill_(outside, 0.0)
