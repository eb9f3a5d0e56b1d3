"""How codebooks learn: k-means once, then moving averages, and new places for dead entries.

Latents are those of a whole step: of all its batches and all processes. What is drawn at random
depends on seed and step, and is drawn from all latents in the order of their clips, so it does not
depend on the number of processes.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from xy_codec.training.batch import Batch
from xy_codec.training.ranks import add_up
from xy_codec.training.recipe import CodebookRule
from xy_codec.xy.quantizer import Codebook

Random = np.random.Generator


class StepFrames:
    """Where the frames of this process lie among the frames of all clips of a step."""

    def __init__(self, batches: Sequence[Batch], num_clips: int, frame_samples: int) -> None:
        device = batches[0].waves.device
        numbers = torch.tensor([each for batch in batches for each in batch.numbers])
        sizes = torch.cat([-(-batch.lengths // frame_samples) for batch in batches])
        of_clip = torch.zeros(num_clips, dtype=torch.long, device=device)
        of_clip[numbers.to(device)] = sizes.to(device)
        ends = add_up(of_clip).cumsum(0).tolist()
        self.total = ends[-1]
        firsts = [0, *ends]
        self.positions = torch.cat(
            [torch.arange(firsts[each], firsts[each + 1]) for each in numbers.tolist()]
        ).to(device)

    def collect(self, latents: Tensor) -> Tensor:
        """The latents of all processes, in the order of their clips."""
        everything = latents.new_zeros(self.total, latents.shape[1])
        everything[self.positions] = latents
        return add_up(everything)

    def pick(self, latents: Tensor, chosen: Tensor) -> Tensor:
        """Of the latents of all processes those at the positions `chosen`."""
        places = torch.full((self.total,), -1, device=latents.device)
        places[self.positions] = torch.arange(len(latents), device=latents.device)
        found = places[chosen]
        picked = latents.new_zeros(len(chosen), latents.shape[1])
        picked[found >= 0] = latents[found[found >= 0]]
        return add_up(picked)


@torch.no_grad()
def initialize(
    book: Codebook, latents: Tensor, per_step: int, rule: CodebookRule, random: Random
) -> None:
    """Set the entries to k-means centres of `latents` `[N, D]`; a step codes `per_step` of them."""
    size = len(book.codebook)
    book.codebook.copy_(latents[_draw(len(latents), size, random).to(latents.device)])
    for _ in range(rule.kmeans_iterations):
        counts, sums = tally(book, latents, book.nearest(latents))
        centres = sums / counts.clamp(min=1.0)[:, None]
        book.codebook.copy_(torch.where(counts[:, None] > 0, centres, book.codebook))
    counts, _ = tally(book, latents, book.nearest(latents))
    # The average of a batch starts as if every entry had been used, in proportion where it was.
    share = counts / counts.sum() + 0.2 / size
    book.cluster_size.copy_(share * per_step)
    book.embed_avg.copy_(book.codebook * book.cluster_size[:, None])
    book.inited.fill_(True)


@torch.no_grad()
def update(
    books: Sequence[Codebook],
    latents: Tensor,
    indices: Tensor,
    frames: StepFrames,
    rule: CodebookRule,
    random: Random,
) -> list[Tensor]:
    """One step of the moving averages; return the numbers of the entries replaced in each book.

    A replaced entry gets a latent of this step *and* the averages of an entry used half as often
    as the mean: otherwise the next step would compute the dead value again.

    Args:
        books: the codebooks, in the order in which they coded.
        latents: what was coded in this step by this process, `[N, D]`.
        indices: the entries that were chosen, `[K, N]`.
        frames: where these latents lie among all.
        rule: decay and when an entry is dead.
        random: equal on every process.
    """
    residuals, found, residual = [], [], latents
    for book, chosen in zip(books, indices, strict=True):
        residuals.append(residual)
        found.append(tally(book, residual, chosen))
        residual = residual - book.lookup(chosen)
    all_counts = add_up(torch.stack([counts for counts, _ in found]))
    all_sums = add_up(torch.stack([sums for _, sums in found]))
    replaced = []
    for book, residual, counts, sums in zip(books, residuals, all_counts, all_sums, strict=True):
        book.cluster_size.mul_(rule.decay).add_(counts, alpha=1 - rule.decay)
        book.embed_avg.mul_(rule.decay).add_(sums, alpha=1 - rule.decay)
        mean = counts.sum() / len(counts)
        dead = (book.cluster_size < rule.dead_share * mean).nonzero()[:, 0]
        if len(dead):
            chosen = _draw(frames.total, len(dead), random).to(latents.device)
            book.cluster_size[dead] = 0.5 * mean
            book.embed_avg[dead] = 0.5 * mean * frames.pick(residual, chosen)
        total = book.cluster_size.sum()
        smoothed = (book.cluster_size + rule.epsilon) / (total + len(counts) * rule.epsilon) * total
        book.codebook.copy_(book.embed_avg / smoothed[:, None])
        replaced.append(dead)
    return replaced


def tally(book: Codebook, latents: Tensor, indices: Tensor) -> tuple[Tensor, Tensor]:
    """How often each entry was chosen, and the sum of the latents that chose it."""
    counts = torch.bincount(indices, minlength=len(book.codebook)).to(latents.dtype)
    return counts, torch.zeros_like(book.codebook).index_add_(0, indices, latents)


def _draw(total: int, count: int, random: Random) -> Tensor:
    """Positions below `total`, each once if there are enough."""
    return torch.from_numpy(random.choice(total, count, replace=total < count))
