"""Learned matrices applied to rows, in the shapes that checkpoints store them in.

While training, a product reads its parameter. Frozen for inference it keeps only the matrix that
the multiplication wants, in the precision that the codec was loaded with.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Product(nn.Module):
    """Rows `[.., in]` times a matrix `[out, in]`, plus a bias."""

    weight: Tensor | None
    bias: Tensor | None
    frozen: Tensor | None

    def __init__(self, shape: Sequence[int], fan_in: int, bias_size: int) -> None:
        super().__init__()
        # A buffer, so that a CUDA graph takes it for what it is: the same at every replay.
        self.register_buffer("frozen", None, persistent=False)
        bound = 1.0 / math.sqrt(fan_in)
        self.weight = nn.Parameter(torch.empty(*shape).uniform_(-bound, bound))
        self.bias = (
            nn.Parameter(torch.empty(bias_size).uniform_(-bound, bound)) if bias_size else None
        )

    def matrix(self) -> Tensor:
        """The parameter as a matrix `[out, in]`."""
        if self.weight is None:
            raise RuntimeError("A frozen product has no parameter left to read")
        return self.arrange(self.weight)

    def arrange(self, weight: Tensor) -> Tensor:
        """The stored shape as a matrix."""
        return weight

    def row_bias(self) -> Tensor | None:
        """The bias as long as a row of the result."""
        return self.bias

    def forward(self, rows: Tensor) -> Tensor:
        """Multiply."""
        if self.frozen is None:
            return F.linear(rows, self.matrix(), self.row_bias())
        return F.linear(rows.to(self.frozen.dtype), self.frozen, self.row_bias())

    def freeze(self, dtype: torch.dtype) -> None:
        """Keep only the arranged matrix, in `dtype`; there is no way back."""
        self.frozen = self.matrix().detach().to(dtype).contiguous()
        self.weight = None
        if self.bias is not None:
            self.bias = nn.Parameter(self.bias.detach().to(dtype), requires_grad=False)


class Linear(Product):
    """A plain linear layer."""

    def __init__(self, width_in: int, width_out: int, bias: bool = True) -> None:
        super().__init__((width_out, width_in), width_in, width_out if bias else 0)


class TapsConv(Product):
    """A convolution `[out, in, k]` over rows that hold k neighbours side by side."""

    def __init__(self, width_in: int, width_out: int, taps: int, bias: bool = True) -> None:
        super().__init__((width_out, width_in, taps), width_in * taps, width_out if bias else 0)

    def arrange(self, weight: Tensor) -> Tensor:
        """Taps outside, channels inside, as the rows are."""
        return weight.transpose(1, 2).flatten(1)


class TapsDeconv(Product):
    """A transposed convolution `[in, out, k]` of stride 1 over rows of k neighbours."""

    def __init__(self, width_in: int, width_out: int, taps: int) -> None:
        super().__init__((width_in, width_out, taps), width_in * taps, width_out)

    def arrange(self, weight: Tensor) -> Tensor:
        """The neighbour k steps back meets tap k."""
        return weight.permute(1, 2, 0).flatten(1)


class SpreadDeconv(Product):
    """A transposed convolution `[in, out, k]` that gives its k results side by side, unsummed."""

    def __init__(self, width_in: int, width_out: int, taps: int, bias: bool = True) -> None:
        super().__init__((width_in, width_out, taps), width_in, width_out if bias else 0)

    def arrange(self, weight: Tensor) -> Tensor:
        """Taps outside, channels inside."""
        return weight.permute(2, 1, 0).flatten(0, 1)

    def row_bias(self) -> None:
        """None: a bias belongs to the sums, not to the taps."""


def freeze_products(model: nn.Module, dtype: torch.dtype) -> None:
    """Freeze every product below `model` that is not frozen yet."""
    for module in list(model.modules()):
        if isinstance(module, Product) and module.frozen is None:
            module.freeze(dtype)


def join(products: Sequence[Product], dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """One matrix and bias that give the results of several products side by side."""
    matrices = [product.matrix() for product in products]
    biases = [
        matrix.new_zeros(matrix.shape[0]) if product.bias is None else product.bias
        for product, matrix in zip(products, matrices, strict=True)
    ]
    return torch.cat(matrices).detach().to(dtype), torch.cat(biases).detach().to(dtype)
