"""The learning rate over the steps of a run."""

import math

from xy_codec.training.recipe import OptimizerConfig


def rate_share(step: int, steps: int, config: OptimizerConfig) -> float:
    """The share of the full learning rate at a step: linear warm-up, then half a cosine down."""
    if step < config.warmup_steps:
        return (step + 1) / config.warmup_steps
    progress = (step - config.warmup_steps) / max(1, steps - config.warmup_steps)
    fall = 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
    return config.final_share + (1 - config.final_share) * fall
