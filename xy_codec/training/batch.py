"""One batch of speech, as `speech_batches.py` makes it and the stages of training take it."""

from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Batch:
    """Waves `[B, L]`, the samples of each that are not padding, and what is said where known."""

    waves: Tensor
    lengths: Tensor
    texts: tuple[str, ...]  # "" where the text is unknown or the clip was cut
    numbers: tuple[int, ...]  # of the clips, in the batch that all processes share

    def to(self, device: torch.device) -> Self:
        """The same on a device."""
        return replace(self, waves=self.waves.to(device), lengths=self.lengths.to(device))
