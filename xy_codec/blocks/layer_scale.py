"""A learned factor for each channel."""

import torch
from torch import Tensor, nn


class LayerScale(nn.Module):
    """What a layer adds to its input, channel by channel times `scale`."""

    def __init__(self, width: int, scale: float = 0.01) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.full((width,), scale))

    def forward(self, steps: Tensor) -> Tensor:
        """Scale steps `[.., D]`."""
        return self.scale * steps
