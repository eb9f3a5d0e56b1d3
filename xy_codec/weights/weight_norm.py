"""Weights that are stored as a length and a direction for each output: torch's weight norm."""

from collections.abc import Mapping

import torch
from torch import Tensor

# Names of length and direction behind the name of the weight: since torch 2.1, and before.
_NAMES = ((".parametrizations.weight.original0", ".parametrizations.weight.original1"),
          (".weight_g", ".weight_v"))  # fmt: skip


def fold_weight_norm(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors, with `X.weight` in the place of its length and direction."""
    folded = dict(state)
    for length_name, direction_name in _NAMES:
        for key in [key for key in folded if key.endswith(length_name)]:
            base = key.removesuffix(length_name)
            if base + direction_name in folded:
                length, direction = folded.pop(key), folded.pop(base + direction_name)
                folded[f"{base}.weight"] = _product(length, direction)
    return folded


def _product(length: Tensor, direction: Tensor) -> Tensor:
    axes = tuple(range(1, direction.ndim))
    norms = torch.linalg.vector_norm(direction.float(), dim=axes, keepdim=True)
    product: Tensor = direction.float() * (length.float() / norms)
    return product
