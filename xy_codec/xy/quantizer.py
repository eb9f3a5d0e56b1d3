"""Residual vector quantisation: eight codebooks, each coding what the ones before it left over."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xy_codec.engine.product import Product
from xy_codec.xy.config import QuantizerConfig


class NormedProjection(Product):
    """A 1x1 convolution with weight normalisation, applied to rows."""

    def __init__(self, width_in: int, width_out: int) -> None:
        super().__init__((width_out, width_in, 1), width_in, width_out)
        direction = super().matrix().detach()
        del self.weight
        self.weight_g = nn.Parameter(direction.norm(dim=(1, 2), keepdim=True))
        self.weight_v = nn.Parameter(direction)

    def matrix(self) -> Tensor:
        """Each row of the direction, brought to its learned length."""
        length = self.weight_v.norm(dim=(1, 2), keepdim=True)
        matrix: Tensor = (self.weight_v * (self.weight_g / length)).squeeze(2)
        return matrix


class Codebook(nn.Module):
    """One codebook; the buffers beside `codebook` belong to its training and ride along."""

    codebook: Tensor
    inited: Tensor
    cluster_size: Tensor
    embed_avg: Tensor

    def __init__(self, num_entries: int, width: int) -> None:
        super().__init__()
        self.register_buffer("codebook", torch.zeros(num_entries, width))
        self.register_buffer("inited", torch.zeros(1, dtype=torch.bool))
        self.register_buffer("cluster_size", torch.zeros(num_entries))
        self.register_buffer("embed_avg", torch.zeros(num_entries, width))

    def nearest(self, rows: Tensor) -> Tensor:
        """Index of the closest entry for each row `[.., width]`; the first of equals."""
        distance = (
            rows.square().sum(-1, keepdim=True)
            - 2.0 * F.linear(rows, self.codebook)
            + self.codebook.square().sum(-1)
        )
        return distance.argmin(-1)

    def lookup(self, indices: Tensor) -> Tensor:
        """The entries at `indices`."""
        return F.embedding(indices, self.codebook)


class ResidualQuantizer(nn.Module):
    """Rows to indices `[.., K]` and back, always in float32."""

    def __init__(self, config: QuantizerConfig) -> None:
        super().__init__()
        self.input_proj = NormedProjection(config.input_dim, config.rvq_dim)
        self.output_proj = NormedProjection(config.rvq_dim, config.output_dim)
        self.quantizers = nn.ModuleList(
            Codebook(config.codebook_size, config.codebook_dim)
            for _ in range(config.num_quantizers)
        )

    def codebooks(self, count: int | None = None) -> list[Codebook]:
        """The first `count` codebooks, all if None."""
        return [book for book in self.quantizers if isinstance(book, Codebook)][:count]

    def encode(self, rows: Tensor, num_codebooks: int | None = None) -> Tensor:
        """Indices `[.., K]` of the nearest entries, codebook after codebook."""
        residual = self.input_proj(rows)
        indices = []
        for book in self.codebooks(num_codebooks):
            chosen = book.nearest(residual)
            residual = residual - book.lookup(chosen)
            indices.append(chosen)
        return torch.stack(indices, dim=-1)

    def decode(self, indices: Tensor) -> Tensor:
        """The sum of the chosen entries of the first K codebooks, projected to the output width."""
        first, *others = self.codebooks(indices.shape[-1])
        total = first.lookup(indices[..., 0])
        for layer, book in enumerate(others, start=1):
            total = total + book.lookup(indices[..., layer])
        projected: Tensor = self.output_proj(total)
        return projected
