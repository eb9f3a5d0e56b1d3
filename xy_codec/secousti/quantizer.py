"""Finite scalar quantisation: eight digits of three values each make one of 6,561 tokens."""

import torch
from torch import Tensor, nn

from xy_codec.secousti.config import LEVELS, CodecConfig

_BOUND = 0.999


class ScalarQuantizer(nn.Module):
    """Steps to tokens and back; the first digit is the least significant one."""

    place_values: Tensor

    def __init__(self, config: CodecConfig) -> None:
        super().__init__()
        self.project_in = nn.Linear(config.width, config.num_digits)
        self.project_out = nn.Linear(config.num_digits, config.width)
        place_values = LEVELS ** torch.arange(config.num_digits, device="cpu")
        self.register_buffer("place_values", place_values, persistent=False)

    def encode(self, steps: Tensor) -> Tensor:
        """Steps `[.., D]` to tokens `[..]`."""
        return self.choose(self.project_in(steps))

    def choose(self, latents: Tensor) -> Tensor:
        """Tokens `[..]` of latents `[.., digits]`; a latent exactly between two values gets 0."""
        digits = (_BOUND * latents.tanh()).round().long() + LEVELS // 2
        return (digits * self.place_values).sum(-1)

    def decode(self, tokens: Tensor) -> Tensor:
        """Tokens `[..]` to steps `[.., D]`."""
        steps: Tensor = self.project_out(self.digits(tokens))
        return steps

    def digits(self, tokens: Tensor) -> Tensor:
        """Digits `[.., digits]` of -1, 0 or 1 of tokens `[..]`."""
        return (tokens[..., None] // self.place_values % LEVELS - LEVELS // 2).float()
