"""SNAC's class for single clips: its codes as rows, and the decoder's noise from a seed."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn

from xy_codec.contract import Waveform


class SnacModel:
    """The class of the package `snac` as a model of single clips."""

    def __init__(self, module: Any, rows: Sequence[int], device: torch.device) -> None:
        """`rows` is how many rows each codebook has."""
        self._noises = _seeded_noises(module)
        self.module: nn.Module = module.to(device)
        self._encode, self._decode = module.encode, module.decode
        self._rows = list(rows)
        self._device = device

    def encode(self, waveform: Waveform) -> Tensor:
        """Codes `[rows, T]`; the class fills the last frame with zeros."""
        samples = torch.from_numpy(waveform).to(self._device, copy=True)
        with _never_compiled():
            codebooks = self._encode(samples[None, None])
        frames = codebooks[0].shape[1]
        return torch.cat([codes.reshape(frames, -1).T for codes in codebooks])

    def decode(self, codes: Tensor, seed: int | None) -> Tensor:
        """Samples of codes `[rows, T]`; without noise where there is no seed."""
        generator = None if seed is None else torch.Generator().manual_seed(seed)
        for noise in self._noises:
            noise.generator = generator
        rows = torch.split(codes.to(self._device), self._rows)
        with _never_compiled():
            samples: Tensor = self._decode([each.T.reshape(1, -1) for each in rows])
        return samples.flatten()

    def embed(self, codes: Tensor) -> None:
        """None: its embeddings have several steps a frame."""


def _never_compiled() -> AbstractContextManager[None]:
    """Run the package's activation, a script of torch, as it runs at first.

    torch compiles it after a few calls, and then a clip could have other bits than before.
    """
    optimized: AbstractContextManager[None] = torch.jit.optimized_execution(False)  # type: ignore[attr-defined]  # torch's stubs lack it
    return optimized


def _seeded_noises(module: Any) -> "list[SeededNoise]":
    """Put our noise in the place of every noise block of the package."""
    places = [
        (parent, name, child.linear)
        for parent in module.modules()
        for name, child in parent.named_children()
        if type(child).__name__ == "NoiseBlock"
    ]
    noises = [SeededNoise(linear) for _, _, linear in places]
    for (parent, name, _), noise in zip(places, noises, strict=True):
        parent.add_module(name, noise)
    return noises


class SeededNoise(nn.Module):
    """The decoder's noise block, whose noise comes from a generator; without one it adds none."""

    def __init__(self, linear: nn.Module) -> None:
        super().__init__()
        self.linear = linear
        self.generator: torch.Generator | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Add noise to `[B, C, T]`, the same in all channels but for a learned gain."""
        if self.generator is None:
            return x
        # On the CPU, so that a seed means the same noise on every device.
        noise = torch.randn(x.shape[0], 1, x.shape[2], generator=self.generator)
        gain: Tensor = self.linear(x)
        return x + noise.to(x.device) * gain
