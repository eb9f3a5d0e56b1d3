"""Least-squares GAN losses and feature matching."""

import torch
from torch import Tensor

from xy_codec.training.discriminator import Judgement


def discriminator_loss(real: list[Judgement], made: list[Judgement]) -> Tensor:
    """Squared distance of real scores from 1 and of made ones from 0, mean over discriminators."""
    losses = [
        (1 - a.scores.float()).square().mean() + b.scores.float().square().mean()
        for a, b in zip(real, made, strict=True)
    ]
    return torch.stack(losses).mean()


def adversarial_loss(made: list[Judgement]) -> Tensor:
    """Squared distance of made scores from 1, mean over discriminators."""
    return torch.stack([(1 - each.scores.float()).square().mean() for each in made]).mean()


def feature_loss(real: list[Judgement], made: list[Judgement]) -> Tensor:
    """L1 between feature maps, each relative to the mean magnitude of the real one."""
    losses = [
        (theirs.float() - mine.float()).abs().mean() / theirs.float().abs().mean().clamp(min=1e-6)
        for a, b in zip(real, made, strict=True)
        for theirs, mine in zip((f.detach() for f in a.features), b.features, strict=True)
    ]
    return torch.stack(losses).mean()
