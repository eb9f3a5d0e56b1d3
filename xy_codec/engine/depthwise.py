"""Depthwise convolution in time of all clips of a pack as one operation.

On CUDA it is the kernel of `depthwise_kernel.py`, on CPUs a loop over clips, as for attention.
"""

import torch
from torch import Tensor

from xy_codec.engine.layout import convolve_alone


@torch.library.custom_op("xytok::convolve_depthwise", mutates_args=(), device_types="cpu")
def convolve_depthwise(steps: Tensor, blocks: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Steps `[S, D]` of float32 with an odd kernel `[D, 1, k]`; zeros stand around each clip.

    Args:
        blocks: `[N, 4]`, what `fill_blocks` of `attention.py` wrote for float32.
    """
    out = torch.zeros_like(steps)
    for first, _, start, stop in blocks.tolist():
        if first == start < stop:
            out[start:stop] = convolve_alone(steps[start:stop], weight, bias)
    return out


@convolve_depthwise.register_fake
def _(steps: Tensor, _blocks: Tensor, _weight: Tensor, _bias: Tensor) -> Tensor:
    return torch.empty_like(steps)


@convolve_depthwise.register_kernel("cuda")
def _(steps: Tensor, blocks: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    from xy_codec.engine.depthwise_kernel import convolve_in_blocks

    return convolve_in_blocks(steps, blocks, weight, bias)
