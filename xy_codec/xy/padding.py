"""Which steps of a padded batch `[B, T, ..]` belong to a clip, and zeros in all others."""

import torch
from torch import Tensor


def valid_steps(lengths: Tensor | None, num_steps: int) -> Tensor | None:
    """`[B, T]`, True where step t is before the clip's end.

    None where every clip fills the batch: masks would change nothing and cost time.
    """
    if lengths is None or bool((lengths >= num_steps).all()):
        return None
    return torch.arange(num_steps, device=lengths.device) < lengths[:, None]


def zero_padding(steps: Tensor, valid: Tensor | None) -> Tensor:
    """Set the steps `[B, T, D]` that are not valid to 0."""
    return steps if valid is None else torch.where(valid[..., None], steps, 0.0)
