"""Layer norm of float32 steps into half precision as one operation, where torch has two."""

import torch
import torch.nn.functional as F
from torch import Tensor


@torch.library.custom_op("xytok::norm_into_half", mutates_args=(), device_types="cpu")
def norm_into_half(steps: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    """Layer norm of float32 steps `[S, D]`, computed in float32 and rounded to float16."""
    return F.layer_norm(steps, weight.shape, weight, bias, eps).half()


@norm_into_half.register_fake
def _(steps: Tensor, _weight: Tensor, _bias: Tensor, _eps: float) -> Tensor:
    return steps.new_empty(steps.shape, dtype=torch.float16)


@norm_into_half.register_kernel("cuda")
def _(steps: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    from xy_codec.engine.layer_norm_kernel import norm_steps_into_half

    return norm_steps_into_half(steps, weight, bias, eps)
