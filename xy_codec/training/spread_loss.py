"""The loss that keeps the variance of latents in all directions, so that all codebooks are used."""

import torch
from torch import Tensor

_FLOOR = 0.05  # of the mean variance: a direction this faint pulls no harder


def spread_loss(latents: Tensor) -> Tensor:
    """How unevenly latents `[N, D]` spread over their directions; about 0 when evenly.

    The mean over directions of the negative log of each one's share of the variance.
    """
    centred = latents - latents.mean(0)
    covariance = centred.T @ centred / len(latents)
    even = covariance / covariance.diagonal().mean().clamp(min=1e-12)
    floor = _FLOOR * torch.eye(latents.shape[1], device=latents.device)
    return -torch.logdet(even + floor) / latents.shape[1]
