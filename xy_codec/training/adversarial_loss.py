"""Least-squares GAN losses and feature matching."""

import torch
from torch import Tensor

from xy_codec.training.discriminator import Judgement


def discriminator_loss(real: list[Judgement], made: list[Judgement]) -> Tensor:
    """Real audio should score one, made audio zero; mean over sub-discriminators."""
    losses = [
        (1 - a.scores.float()).square().mean() + b.scores.float().square().mean()
        for a, b in zip(real, made, strict=True)
    ]
    return torch.stack(losses).mean()


def adversarial_loss(made: list[Judgement]) -> Tensor:
    """Made audio should score one."""
    return torch.stack([(1 - each.scores.float()).square().mean() for each in made]).mean()


def feature_loss(real: list[Judgement], made: list[Judgement]) -> Tensor:
    """L1 between feature maps, each relative to the mean magnitude of the real one."""
    losses = [
        (theirs.float() - mine.float()).abs().mean() / theirs.float().abs().mean().clamp(min=1e-6)
        for a, b in zip(real, made, strict=True)
        for theirs, mine in zip((f.detach() for f in a.features), b.features, strict=True)
    ]
    return torch.stack(losses).mean()
