"""Records every matrix product of a run, and replays them with nothing in between."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode


class ProductRecorder(TorchFunctionMode):
    """Notes the shapes and weights of linear layers and attentions while it is entered."""

    def __init__(self) -> None:
        super().__init__()
        self.linears: list[tuple[torch.Size, Tensor, torch.dtype]] = []
        self.attentions: list[tuple[torch.Size, torch.dtype]] = []

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        if func is F.linear:
            self.linears.append((args[0].shape, args[1], args[0].dtype))
        elif func is F.scaled_dot_product_attention:
            self.attentions.append((args[0].shape, args[0].dtype))
        return func(*args, **(kwargs or {}))

    @property
    def flop(self) -> float:
        """Floating point operations of everything recorded."""
        linear = sum(2.0 * shape.numel() * weight.shape[0] for shape, weight, _ in self.linears)
        return linear + sum(4.0 * shape.numel() * shape[-2] for shape, _ in self.attentions)

    def prepare_replay(self) -> Callable[[], None]:
        """A function that runs the recorded products on buffers made beforehand."""
        steps = {(s, d): torch.randn(*s).to(d) for s, _, d in self.linears}
        heads = {(s, d): torch.randn(*s).to(d) for s, d in self.attentions}

        @torch.inference_mode()
        def replay() -> None:
            for shape, weight, dtype in self.linears:
                F.linear(steps[shape, dtype], weight)
            for shape, dtype in self.attentions:
                part = heads[shape, dtype]
                torch.matmul(torch.matmul(part, part.transpose(-1, -2)), part)

        return replay
