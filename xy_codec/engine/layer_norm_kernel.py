"""The Triton kernel of `layer_norm.py`: one program a step, whose sums have a fixed order."""

import torch
import triton
import triton.language as tl
from torch import Tensor

WARPS = 4


def norm_steps_into_half(steps: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    """Layer norm of float32 steps `[S, D]` to float16."""
    out = torch.empty_like(steps, dtype=torch.float16)
    width = steps.shape[1]
    padded = triton.next_power_of_2(width)
    # Triton launches on the current device.
    with torch.cuda.device_of(steps):  # type: ignore[no-untyped-call]
        kernel[(len(steps),)](
            steps, weight, bias, out, eps, width=width, padded=padded,
            num_warps=WARPS, enable_fp_fusion=True,
        )  # fmt: skip
    return out


@triton.jit  # type: ignore[untyped-decorator]
def kernel(  # type: ignore[no-untyped-def]  # Triton's own types
    steps, weight, bias, out, eps, width: tl.constexpr, padded: tl.constexpr
):
    """Mean, then the mean square of what is left, in float32."""
    column = tl.arange(0, padded)
    own = column < width
    at = tl.program_id(0) * width + column
    values = tl.load(steps + at, mask=own, other=0.0)
    centred = tl.where(own, values - tl.sum(values, 0) / width, 0.0)
    spread = tl.sqrt(tl.sum(centred * centred, 0) / width + eps)
    scaled = centred / spread * tl.load(weight + column, mask=own, other=0.0)
    result = scaled + tl.load(bias + column, mask=own, other=0.0)
    tl.store(out + at, result.to(tl.float16), mask=own)
