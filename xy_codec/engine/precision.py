"""The precisions of a codec: which dtype matrix products run in, and the switches of torch."""

from typing import Any

import torch

from xy_codec.errors import ConfigError

PRECISIONS = ("exact", "fast")


def dtype_of(precision: str, device: torch.device) -> torch.dtype:
    """The dtype of products before the quantiser: float32 for `exact`, float16 for `fast`."""
    if precision not in PRECISIONS:
        raise ConfigError(
            f"Precision is `{precision}`; expected one of {', '.join(PRECISIONS)}. "
            "Use `exact` if in doubt."
        )
    if device.type == "cuda":
        _forbid_tf32()
        torch.backends.cuda.matmul.allow_fp16_reduced_precision_reduction = False
    if precision == "exact":
        return torch.float32
    if device.type == "cpu" and not torch.ops.mkldnn._is_mkldnn_fp16_supported():
        raise ConfigError(
            "Precision is `fast`, but this CPU has no float16 arithmetic, without which it would "
            "be slow. Expected a GPU or a CPU with AVX512-FP16 or AMX-FP16. Use `exact`."
        )
    return torch.float16


def _forbid_tf32() -> None:
    """Global switches of torch: TF32 would change a codec's bits."""
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    # From torch 2.9 on, "not allowed" there means what `torch.backends.fp32_precision` says.
    kinds: list[Any] = [torch.backends.cuda.matmul]
    kinds += [getattr(torch.backends.cudnn, name, None) for name in ("conv", "rnn")]
    for kind in kinds:
        if hasattr(kind, "fp32_precision"):
            kind.fp32_precision = "ieee"
