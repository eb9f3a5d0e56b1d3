"""What both stages share: their interface, averaged weights, gradient steps and precision."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

import torch
import torch.distributed as dist
from torch import Tensor, nn

from xy_codec.training.batch import Batch
from xy_codec.training.recipe import OptimizerConfig, Recipe
from xy_codec.training.schedule import rate_share
from xy_codec.training.training_codec import TrainingCodec


class Stage(Protocol):
    """One stage of training; the trainer calls it for every step."""

    codec: TrainingCodec
    average: "AverageWeights"

    def step(self, batches: Iterable[Batch], number: int) -> dict[str, float]:
        """Learn from the batches of step `number`; return the losses by name."""
        ...

    def state(self) -> dict[str, Any]:
        """Everything that another process needs to continue with equal bits."""
        ...

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from `state()`."""
        ...


class AverageWeights:
    """A moving average of trained weights, which is what is evaluated and exported."""

    def __init__(self, parameters: Iterable[nn.Parameter], decay: float) -> None:
        self.parameters = list(parameters)
        self.decay = decay
        self.values = [each.detach().clone() for each in self.parameters]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Move towards the present weights, faster in the first steps."""
        decay = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(self.values, [each.data for each in self.parameters], 1 - decay)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Put the averages in place of the weights for a while."""
        present = [each.detach().clone() for each in self.parameters]
        self._assign(self.values)
        try:
            yield
        finally:
            self._assign(present)

    @torch.no_grad()
    def _assign(self, values: list[Tensor]) -> None:
        for parameter, value in zip(self.parameters, values, strict=True):
            parameter.copy_(value)


class Learner:
    """AdamW with warm-up, cosine decay, clipping, and gradients averaged over processes."""

    def __init__(
        self, groups: list[tuple[list[nn.Parameter], float]], config: OptimizerConfig, steps: int
    ) -> None:
        self.config = config
        self.steps = steps
        self.shares = [share for _, share in groups]
        self.parameters = [each for group, _ in groups for each in group]
        self.optimizer = torch.optim.AdamW(
            [{"params": group} for group, _ in groups],
            lr=config.learning_rate,
            betas=config.betas,
            weight_decay=config.weight_decay,
            fused=True,
        )

    def step(self, number: int) -> float:
        """Apply the gradients that have gathered; return their norm."""
        if dist.is_available() and dist.is_initialized():
            for parameter in self.parameters:
                # A process without a transcript in its batch has no gradient for the text branch.
                if parameter.grad is None:
                    parameter.grad = torch.zeros_like(parameter)
                dist.all_reduce(parameter.grad)
                parameter.grad /= dist.get_world_size()
        norm = float(nn.utils.clip_grad_norm_(self.parameters, self.config.clip_norm))
        rate = self.config.learning_rate * rate_share(number, self.steps, self.config)
        for group, share in zip(self.optimizer.param_groups, self.shares, strict=True):
            group["lr"] = rate * share
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return norm


def precision(recipe: Recipe, device: torch.device) -> torch.autocast:
    """The autocast context of a recipe."""
    return torch.autocast(device.type, torch.bfloat16, enabled=recipe.precision == "bfloat16")
