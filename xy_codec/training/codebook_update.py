"""How codebooks learn: k-means once, then moving averages, and new places for dead entries.

Works on one process and on many: with a process group, counts and sums are added up over it and
random choices are those of rank 0, so that every process holds the same codebook.
"""

import torch
import torch.distributed as dist
from torch import Tensor

from xy_codec.training.recipe import CodebookRule
from xy_codec.xy.quantizer import Codebook


@torch.no_grad()
def initialize(
    book: Codebook, latents: Tensor, rule: CodebookRule, random: torch.Generator
) -> None:
    """Set the entries to k-means centres of `latents` `[N, D]`, starting from N random ones."""
    size = len(book.codebook)
    book.codebook.copy_(_from_first_rank(_sample(latents, size, random)))
    for _ in range(rule.kmeans_iterations):
        counts, sums = tally(book, latents, book.nearest(latents))
        centres = sums / counts.clamp(min=1.0)[:, None]
        book.codebook.copy_(torch.where(counts[:, None] > 0, centres, book.codebook))
    counts, _ = tally(book, latents, book.nearest(latents))
    # The average of a batch starts as if every entry had been used, in proportion where it was.
    share = counts / counts.sum() + 0.2 / size
    book.cluster_size.copy_(share * rule.expected_vectors)
    book.embed_avg.copy_(book.codebook * book.cluster_size[:, None])
    book.inited.fill_(True)


@torch.no_grad()
def update(
    book: Codebook, latents: Tensor, indices: Tensor, rule: CodebookRule, random: torch.Generator
) -> int:
    """One step of the moving averages; return how many dead entries were replaced.

    A replaced entry gets a latent of this batch *and* the averages of an entry used half as often
    as the mean: otherwise the next step would compute the dead value again.
    """
    counts, sums = tally(book, latents, indices)
    book.cluster_size.mul_(rule.decay).add_(counts, alpha=1 - rule.decay)
    book.embed_avg.mul_(rule.decay).add_(sums, alpha=1 - rule.decay)
    mean = counts.sum() / len(counts)
    dead = (book.cluster_size < rule.dead_share * mean).nonzero()[:, 0]
    if len(dead):
        born = _from_first_rank(_sample(latents, len(dead), random))
        book.cluster_size[dead] = 0.5 * mean
        book.embed_avg[dead] = 0.5 * mean * born
    total = book.cluster_size.sum()
    smoothed = (book.cluster_size + rule.epsilon) / (total + len(counts) * rule.epsilon) * total
    book.codebook.copy_(book.embed_avg / smoothed[:, None])
    return len(dead)


def tally(book: Codebook, latents: Tensor, indices: Tensor) -> tuple[Tensor, Tensor]:
    """How often each entry was chosen, and the sum of the latents that chose it, of all ranks."""
    counts = torch.bincount(indices, minlength=len(book.codebook)).to(latents.dtype)
    sums = torch.zeros_like(book.codebook).index_add_(0, indices, latents)
    if dist.is_available() and dist.is_initialized():
        dist.all_reduce(counts)
        dist.all_reduce(sums)
    return counts, sums


def _sample(latents: Tensor, count: int, random: torch.Generator) -> Tensor:
    if len(latents) >= count:
        chosen = torch.randperm(len(latents), generator=random)[:count]
    else:
        chosen = torch.randint(len(latents), (count,), generator=random)
    return latents[chosen.to(latents.device)].clone()


def _from_first_rank(latents: Tensor) -> Tensor:
    if dist.is_available() and dist.is_initialized():
        dist.broadcast(latents, 0)
    return latents
