"""What both stages share: their interface, averaged weights, gradient steps and precision."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from xy_codec.training.batch import Batch
from xy_codec.training.ranks import add_up
from xy_codec.training.recipe import LossConfig, OptimizerConfig
from xy_codec.training.schedule import rate_share
from xy_codec.training.training_codec import TrainingCodec


class Stage(Protocol):
    """One stage of training; the trainer calls it for every step."""

    codec: TrainingCodec
    average: "Average"
    precision: str  # float32 or bfloat16
    trial_step: int  # a step whose gradients take as long as most, and change nothing else

    def gradients(self, batches: list[Batch], number: int) -> dict[str, float]:
        """Gather the gradients of step `number`; return the losses by name, of all processes."""
        ...

    def apply(self, number: int) -> dict[str, float]:
        """Move weights and codebooks by what `gradients` gathered; return figures to log."""
        ...

    def discard(self) -> None:
        """Forget what `gradients` gathered."""
        ...

    def state(self) -> dict[str, Any]:
        """Everything that another process needs to continue with equal bits."""
        ...

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from `state()`."""
        ...


class Average:
    """A moving average of weights and codebooks, which is what is evaluated and exported."""

    def __init__(self, tensors: Iterable[Tensor], decay: float) -> None:
        self.tensors = list(tensors)
        self.decay = decay
        self.values = [each.detach().clone() for each in self.tensors]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Move towards the present values, faster in the first steps."""
        decay = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(self.values, [each.data for each in self.tensors], 1 - decay)

    @torch.no_grad()
    def begin_again(self, tensor: Tensor, entries: Tensor | slice = slice(None)) -> None:
        """Take the present values of some entries, which have nothing to do with those before."""
        (number,) = (at for at, each in enumerate(self.tensors) if each is tensor)
        self.values[number][entries] = tensor[entries]

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Put the averages in place of the present values for a while."""
        present = [each.detach().clone() for each in self.tensors]
        self._assign(self.values)
        try:
            yield
        finally:
            self._assign(present)

    @torch.no_grad()
    def _assign(self, values: list[Tensor]) -> None:
        for tensor, value in zip(self.tensors, values, strict=True):
            tensor.copy_(value)


class Learner:
    """AdamW with warm-up, cosine decay and clipping."""

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
        norm = float(nn.utils.clip_grad_norm_(self.parameters, self.config.clip_norm))
        rate = self.config.learning_rate * rate_share(number, self.steps, self.config)
        for group, share in zip(self.optimizer.param_groups, self.shares, strict=True):
            group["lr"] = rate * share
        self.optimizer.step()
        self.discard()
        return norm

    def discard(self) -> None:
        """Forget the gradients."""
        self.optimizer.zero_grad(set_to_none=True)


class Losses:
    """The losses of a step, added up over its batches and then over all processes."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.sums: dict[str, Tensor] = {}

    def add(self, losses: Mapping[str, Tensor]) -> None:
        """Add the part of one batch."""
        for name, value in losses.items():
            self.sums[name] = self.sums.get(name, torch.zeros((), device=self.device)) + (
                value.detach()
            )

    def of_all(self) -> dict[str, float]:
        """The sums over all processes."""
        values = add_up(torch.stack(list(self.sums.values()))).tolist()
        return dict(zip(self.sums, values, strict=True))


def sum_up(weights: LossConfig, parts: Mapping[str, Tensor]) -> Tensor:
    """Losses times their weights in the recipe, which have the same names."""
    first, *rest = (getattr(weights, name) * part for name, part in parts.items())
    total: Tensor = sum(rest, first)
    return total


def autocast(precision: str, device: torch.device) -> torch.autocast:
    """The autocast context of a precision."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16")
