"""The Triton kernel of `depthwise.py`: taps are added up from the earliest step to the latest."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from xy_codec.engine.attention import block_steps

COLUMNS = 64
WARPS = 4


def convolve_in_blocks(steps: Tensor, blocks: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Steps `[S, D]` and a kernel `[D, 1, k]`; one program a block of steps and some columns."""
    width, _, taps = weight.shape
    # Steps in no block are never read; the kernel writes all others.
    out = torch.empty_like(steps, memory_format=torch.contiguous_format)
    # Triton launches on the current device.
    with torch.cuda.device_of(steps):  # type: ignore[no-untyped-call]
        kernel[(len(blocks), triton.cdiv(width, COLUMNS))](
            steps, blocks, weight, bias, out, width=width, taps=taps,
            block_steps=block_steps(torch.float32), columns=COLUMNS, num_warps=WARPS,
            enable_fp_fusion=True,
        )  # fmt: skip
    return out


@triton.jit  # type: ignore[untyped-decorator]
def kernel(  # type: ignore[no-untyped-def]  # Triton's own types
    steps, blocks, weight, bias, out,
    width: tl.constexpr, taps: tl.constexpr, block_steps: tl.constexpr, columns: tl.constexpr,
):  # fmt: skip
    """Steps outside of a block's clip count as 0."""
    block = blocks + 4 * tl.program_id(0)
    first, stop = tl.load(block), tl.load(block + 1)
    start_clip, stop_clip = tl.load(block + 2), tl.load(block + 3)
    if first < stop:
        step = first + tl.arange(0, block_steps)
        column = tl.program_id(1) * columns + tl.arange(0, columns)
        is_column = column < width
        total = tl.zeros([block_steps, columns], tl.float32)
        total += tl.load(bias + column, mask=is_column, other=0.0)[None, :]
        for tap in tl.static_range(taps):
            near = step + tap - taps // 2
            inside = ((near >= start_clip) & (near < stop_clip))[:, None] & is_column[None, :]
            value = tl.load(steps + near[:, None] * width + column[None, :], mask=inside, other=0.0)
            factor = tl.load(weight + column * taps + tap, mask=is_column, other=0.0)
            total += value * factor[None, :]
        own = (step < stop)[:, None] & is_column[None, :]
        tl.store(out + step[:, None] * width + column[None, :], total, mask=own)
