"""Least-squares GAN losses and feature matching: a value for each clip."""

from collections.abc import Sequence

import torch
from torch import Tensor

from xy_codec.training.discriminator import Judgement


def discriminator_loss(real: Sequence[Judgement], made: Sequence[Judgement]) -> Tensor:
    """Squared distance of real scores from 1 and of made ones from 0, mean over discriminators."""
    losses = [
        _mean((1 - a.scores.float()).square()) + _mean(b.scores.float().square())
        for a, b in zip(real, made, strict=True)
    ]
    return torch.stack(losses).mean(0)


def adversarial_loss(made: Sequence[Judgement]) -> Tensor:
    """Squared distance of made scores from 1, mean over discriminators."""
    return torch.stack([_mean((1 - each.scores.float()).square()) for each in made]).mean(0)


def feature_loss(real: Sequence[Judgement], made: Sequence[Judgement]) -> Tensor:
    """L1 between feature maps, each relative to the mean magnitude of the real one."""
    losses = [
        _mean((theirs.float() - mine.float()).abs()) / _mean(theirs.float().abs()).clamp(min=1e-6)
        for a, b in zip(real, made, strict=True)
        for theirs, mine in zip((f.detach() for f in a.features), b.features, strict=True)
    ]
    return torch.stack(losses).mean(0)


def _mean(maps: Tensor) -> Tensor:
    """The mean of each clip's maps `[B, ..]`."""
    return maps.flatten(1).mean(1)
