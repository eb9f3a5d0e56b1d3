"""Residual quantisation in few dimensions: entries are found by angle, used at their length."""

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xy_codec.moss.config import QuantizerConfig


def _projection(width_in: int, width_out: int) -> nn.Linear | None:
    return nn.Linear(width_in, width_out) if width_in != width_out else None


def _project(projection: nn.Linear | None, steps: Tensor) -> Tensor:
    return steps if projection is None else projection(steps)


class ProjectedCodebook(nn.Module):
    """One codebook of narrow entries, with the projections into and out of their space."""

    def __init__(self, width: int, num_entries: int, entry_width: int) -> None:
        super().__init__()
        self.in_proj = _projection(width, entry_width)
        self.out_proj = _projection(entry_width, width)
        self.codebook = nn.Embedding(num_entries, entry_width)

    def choose(self, residual: Tensor) -> tuple[Tensor, Tensor]:
        """Index `[..]` of the entry for each residual `[.., D]`, and what is left without it.

        The distance is written out as the reference computes it: rounding decides between near
        entries. So is the entry, which training reached through the latent.
        """
        latents = _project(self.in_proj, residual)
        directions, entries = (
            F.normalize(latents, dim=-1),
            F.normalize(self.codebook.weight, dim=-1),
        )
        distance = (
            directions.square().sum(-1, keepdim=True)
            - 2.0 * F.linear(directions, entries)
            + entries.square().sum(-1)
        )
        indices = distance.argmin(-1)
        value = latents + (self.codebook(indices) - latents)
        return indices, residual - _project(self.out_proj, value)

    def lookup(self, indices: Tensor) -> Tensor:
        """The entries at `indices`, `[.., D]`."""
        return _project(self.out_proj, self.codebook(indices))


class ResidualQuantizer(nn.Module):
    """Frames to codes and back; each codebook codes what those before it left over."""

    def __init__(self, config: QuantizerConfig) -> None:
        super().__init__()
        self.input_proj = _projection(config.input_dim, config.rvq_dim)
        self.output_proj = _projection(config.rvq_dim, config.output_dim)
        self.quantizers = nn.ModuleList(
            ProjectedCodebook(config.rvq_dim, config.codebook_size, config.codebook_dim)
            for _ in range(config.num_quantizers)
        )

    def codebooks(self, count: int | None = None) -> list[ProjectedCodebook]:
        """The first `count` codebooks, all if None."""
        return [cast(ProjectedCodebook, book) for book in self.quantizers][:count]

    def encode(self, frames: Tensor, num_codebooks: int | None = None) -> Tensor:
        """Frames `[.., D]` to codes `[.., K]` of the first codebooks."""
        residual = _project(self.input_proj, frames)
        codes = []
        for book in self.codebooks(num_codebooks):
            indices, residual = book.choose(residual)
            codes.append(indices)
        return torch.stack(codes, dim=-1)

    def decode(self, codes: Tensor) -> Tensor:
        """Codes `[.., K']` of the first K' codebooks to frames `[.., D]`."""
        return self.project_out(self.add_up(codes))

    def add_up(self, codes: Tensor) -> Tensor:
        """The sums of the entries at codes `[.., K']` of the first K' codebooks."""
        first, *others = self.codebooks(codes.shape[-1])
        total = first.lookup(codes[..., 0])
        for number, book in enumerate(others, start=1):
            total = total + book.lookup(codes[..., number])
        return total

    def project_out(self, sums: Tensor) -> Tensor:
        """Sums of entries to frames `[.., D]`."""
        return _project(self.output_proj, sums)
