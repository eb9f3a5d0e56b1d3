"""Which values of a recipe make sense; what is wrong is said all at once, before any work."""

import math
from collections.abc import Iterator
from operator import attrgetter
from typing import Any

from xy_codec.errors import ConfigError

_ABOVE_ZERO = (
    "speech.crop_seconds",
    "optimizer.learning_rate",
    "discriminators.learning_rate",
    "optimizer.clip_norm",
)
_FROM_ONE = (
    "steps",
    "accumulate",
    "log_every",
    "evaluate_every",
    "save_every",
    "speech.batch_clips",
    "speech.pool_shards",
    "speech.batches_per_pool",
    "codebooks.kmeans_batches",
)
_FROM_ZERO = (
    "seed",
    "threads",
    "optimizer.warmup_steps",
    "optimizer.weight_decay",
    "codebooks.start_step",
    "discriminators.start_step",
)
_SHARES = (
    "optimizer.final_share",
    "optimizer.average_decay",
    "codebooks.decay",
    "speech.filter_chance",
)


def check_ranges(recipe: Any) -> None:
    """Refuse a recipe with values that no training can use.

    Raises:
        ConfigError: naming every such value.
    """
    faults = [*_faults(recipe)]
    if faults:
        raise ConfigError(
            f"The recipe has values out of range: {'; '.join(faults)}. Correct the recipe."
        )


def _faults(recipe: Any) -> Iterator[str]:
    for names, words, lowest, highest in (
        (_ABOVE_ZERO, "expected more than 0", math.ulp(0.0), math.inf),
        (_FROM_ONE, "expected 1 or more", 1, math.inf),
        (_FROM_ZERO, "expected 0 or more", 0, math.inf),
        (_SHARES, "expected 0 to 1", 0, 1),
    ):
        for name in names:
            if not lowest <= (value := attrgetter(name)(recipe)) <= highest:
                yield f"`{name}` is {value}; {words}"
    pitches = recipe.speech.pitches
    if not pitches or min(pitches) <= 0:
        yield f"`speech.pitches` is {list(pitches)}; expected factors above 0, such as [1.0]"
    if not all(0 <= beta < 1 for beta in recipe.optimizer.betas):
        yield f"`optimizer.betas` is {list(recipe.optimizer.betas)}; expected two from 0 to below 1"
