"""Residual vector quantisation: eight codebooks, each coding what the ones before it left over."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xy_codec.xy.config import QuantizerConfig


class NormedProjection(nn.Module):
    """A 1x1 convolution with weight normalisation, applied to the last axis."""

    def __init__(self, width_in: int, width_out: int) -> None:
        super().__init__()
        plain = nn.Conv1d(width_in, width_out, 1)
        self.bias = plain.bias
        self.weight_g = nn.Parameter(plain.weight.detach().norm(dim=(1, 2), keepdim=True))
        self.weight_v = nn.Parameter(plain.weight.detach())

    def matrix(self) -> Tensor:
        """`[out, in]`: each output's direction `weight_v`, brought to its length `weight_g`."""
        length = self.weight_v.norm(dim=(1, 2), keepdim=True)
        matrix: Tensor = (self.weight_v * (self.weight_g / length)).squeeze(2)
        return matrix

    def forward(self, steps: Tensor) -> Tensor:
        """Project `[.., in]` to `[.., out]`."""
        return F.linear(steps, self.matrix(), self.bias)


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

    def nearest(self, latents: Tensor) -> Tensor:
        """Index of the closest entry for each latent `[.., D]`; the first of equals."""
        distance = (
            latents.square().sum(-1, keepdim=True)
            - 2.0 * F.linear(latents, self.codebook)
            + self.codebook.square().sum(-1)
        )
        return distance.argmin(-1)

    def lookup(self, indices: Tensor) -> Tensor:
        """The entries at `indices`."""
        return F.embedding(indices, self.codebook)


class ResidualQuantizer(nn.Module):
    """Frames to codes and back, always in float32."""

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

    def encode(self, frames: Tensor) -> Tensor:
        """Frames `[B, T, input width]` to codes `[B, K, T]`."""
        return self.choose(self.input_proj(frames)).transpose(1, 2)

    def decode(self, codes: Tensor) -> Tensor:
        """Codes `[B, K', T]` of the first K' codebooks to frames `[B, T, output width]`."""
        frames: Tensor = self.output_proj(self.add_up(codes.transpose(1, 2)))
        return frames

    def choose(self, latents: Tensor, num_codebooks: int | None = None) -> Tensor:
        """Indices `[.., K]` of the nearest entries to latents `[.., D]`, book after book."""
        indices = []
        for book in self.codebooks(num_codebooks):
            indices.append(book.nearest(latents))
            latents = latents - book.lookup(indices[-1])
        return torch.stack(indices, dim=-1)

    def add_up(self, indices: Tensor) -> Tensor:
        """The sum `[.., D]` of the entries at indices `[.., K']`."""
        first, *others = self.codebooks(indices.shape[-1])
        total = first.lookup(indices[..., 0])
        for layer, book in enumerate(others, start=1):
            total = total + book.lookup(indices[..., layer])
        return total
