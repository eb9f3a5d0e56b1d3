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
def initialize(book: Codebook, rows: Tensor, rule: CodebookRule, random: torch.Generator) -> None:
    """Set the entries to k-means centres of `rows` `[N, D]`, starting from N random ones."""
    size = len(book.codebook)
    book.codebook.copy_(_from_first_rank(_sample(rows, size, random)))
    for _ in range(rule.kmeans_iterations):
        counts, sums = tally(book, rows, book.nearest(rows))
        centres = sums / counts.clamp(min=1.0)[:, None]
        book.codebook.copy_(torch.where(counts[:, None] > 0, centres, book.codebook))
    counts, _ = tally(book, rows, book.nearest(rows))
    # The average of a batch starts as if every entry had been used, in proportion where it was.
    share = counts / counts.sum() + 0.2 / size
    book.cluster_size.copy_(share * rule.expected_vectors)
    book.embed_avg.copy_(book.codebook * book.cluster_size[:, None])
    book.inited.fill_(True)


@torch.no_grad()
def update(
    book: Codebook, rows: Tensor, indices: Tensor, rule: CodebookRule, random: torch.Generator
) -> int:
    """One step of the moving averages for `rows` coded as `indices`; return the dead replaced.

    A replaced entry gets a row of this batch *and* the averages of an entry used half as often as
    the mean: with the averages left alone the next step would bring the dead value back.
    """
    counts, sums = tally(book, rows, indices)
    book.cluster_size.mul_(rule.decay).add_(counts, alpha=1 - rule.decay)
    book.embed_avg.mul_(rule.decay).add_(sums, alpha=1 - rule.decay)
    mean = counts.sum() / len(counts)
    dead = (book.cluster_size < rule.dead_share * mean).nonzero()[:, 0]
    if len(dead):
        born = _from_first_rank(_sample(rows, len(dead), random))
        book.cluster_size[dead] = 0.5 * mean
        book.embed_avg[dead] = 0.5 * mean * born
    total = book.cluster_size.sum()
    smoothed = (book.cluster_size + rule.epsilon) / (total + len(counts) * rule.epsilon) * total
    book.codebook.copy_(book.embed_avg / smoothed[:, None])
    return len(dead)


def tally(book: Codebook, rows: Tensor, indices: Tensor) -> tuple[Tensor, Tensor]:
    """How often each entry was chosen and the sum of the rows it was chosen for, of all ranks."""
    counts = torch.bincount(indices, minlength=len(book.codebook)).to(rows.dtype)
    sums = torch.zeros_like(book.codebook).index_add_(0, indices, rows)
    if dist.is_available() and dist.is_initialized():
        dist.all_reduce(counts)
        dist.all_reduce(sums)
    return counts, sums


def _sample(rows: Tensor, count: int, random: torch.Generator) -> Tensor:
    if len(rows) >= count:
        chosen = torch.randperm(len(rows), generator=random)[:count]
    else:
        chosen = torch.randint(len(rows), (count,), generator=random)
    return rows[chosen.to(rows.device)].clone()


def _from_first_rank(rows: Tensor) -> Tensor:
    if dist.is_available() and dist.is_initialized():
        dist.broadcast(rows, 0)
    return rows
