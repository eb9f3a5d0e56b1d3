"""The loss that keeps the variance of latents in all directions, so that all codebooks are used."""

import torch
from torch import Tensor

from xy_codec.training.ranks import add_up, find_place, mean_of_all

_FLOOR = 0.05  # of the mean variance: a direction this faint pulls no harder


def spread_loss(latents: Tensor) -> Tensor:
    """How unevenly latents `[N, D]` of all ranks spread over their directions; about 0 when evenly.

    The mean over directions of the negative log of each one's share of the variance.
    """
    centred = latents - mean_of_all(latents)
    mine = centred.T @ centred
    # The value is that of all ranks, the gradient that of this one's latents. DDP takes the mean
    # over ranks, where this loss needs the sum.
    total = add_up(mine.detach().clone())
    covariance = total + find_place().world * (mine - mine.detach())
    even = covariance / covariance.diagonal().mean().clamp(min=1e-12)
    floor = _FLOOR * torch.eye(latents.shape[1], device=latents.device)
    return -torch.logdet(even + floor) / latents.shape[1]
