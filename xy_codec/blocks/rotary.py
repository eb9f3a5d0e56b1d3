"""Rotary positions: pairs of neighbouring channels, turned by an angle that grows with the step.

The angles are float32 products, as in the implementations that checkpoints were trained with.
They are rounded, so a step's result depends on its position and not on distances alone: positions
are always counted from the start of the clip.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor


class Rotation(NamedTuple):
    """Cosines and sines `[T, head width / 2]` of the angles at T positions."""

    cos: Tensor
    sin: Tensor


def frequencies_of(head_width: int, max_period: float) -> Tensor:
    """How far each pair of channels `[head width / 2]` turns from one step to the next."""
    # The CPU's exp for every device: the last bit of a frequency grows with the position.
    exponents = torch.arange(head_width // 2, dtype=torch.float32, device="cpu")
    return (exponents * (-math.log(max_period) * 2 / head_width)).exp()


def rotation_at(positions: Tensor, frequencies: Tensor) -> Rotation:
    """The rotation at integer positions `[T]`.

    Cosine and sine are computed in float64 and rounded, so that they are the same bits on every
    device and wherever a position lies in the tensor.
    """
    angles = (positions.float()[:, None] * frequencies).double()
    return Rotation(angles.cos().float(), angles.sin().float())


def rotate(heads: Tensor, rotation: Rotation) -> Tensor:
    """Turn the channel pairs (0, 1), (2, 3), … of steps `[.., T, heads, head width]`."""
    cos, sin = (part[:, None] for part in rotation)
    even, odd = heads[..., ::2], heads[..., 1::2]
    turned = (even * cos - odd * sin, even * sin + odd * cos)
    return torch.stack(turned, dim=-1).flatten(-2)


def for_each_channel(rotation: Rotation) -> Rotation:
    """Factors `[T, head width]` of each channel and of its partner, for `rotate_in_place`."""
    cos, sin = rotation
    pairs = torch.stack((cos, cos), dim=-1), torch.stack((-sin, sin), dim=-1)
    return Rotation(*(pair.flatten(-2) for pair in pairs))


def rotate_in_place(heads: Tensor, factors: Rotation) -> None:
    """What `rotate` gives for steps `[T, heads, head width]`, bit for bit, in few operations."""
    own, partners = (part[:, None] for part in factors)
    swapped = heads.view(*heads.shape[:-1], -1, 2).flip(-1).flatten(-2)
    heads.mul_(own).add_(swapped.mul_(partners))
