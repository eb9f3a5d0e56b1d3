"""Codebooks learn once a step, and none of their entries stays dead."""

import numpy as np
import torch

from xy_codec.training.batch import Batch
from xy_codec.training.codebook_update import StepFrames, initialize, update
from xy_codec.training.recipe import CodebookRule
from xy_codec.training.stage import Average
from xy_codec.xy.quantizer import Codebook

RULE = CodebookRule(dead_share=0.3)


def learn(book: Codebook, *batches: torch.Tensor, seed: int = 0) -> int:
    """One step of latents in one or more batches; the number of entries it replaced."""
    made = [
        Batch(torch.zeros(1, 0), torch.tensor([len(each)]), ("",), (number,))
        for number, each in enumerate(batches)
    ]
    latents = torch.cat(batches)
    frames = StepFrames(made, len(made), frame_samples=1)
    draws = np.random.default_rng(seed)
    (replaced,) = update([book], latents, book.nearest(latents)[None], frames, RULE, draws)
    return len(replaced)


def rows_around(centres: torch.Tensor, count: int, random: torch.Generator) -> torch.Tensor:
    chosen = torch.randint(len(centres), (count,), generator=random)
    noise = torch.randn(count, centres.shape[1], generator=random)
    return centres[chosen] + 0.05 * noise


def test_kmeans_finds_the_centres_without_a_process_group():
    random = torch.Generator().manual_seed(0)
    centres = 5 * torch.randn(8, 4, generator=random)
    book = Codebook(32, 4)
    initialize(book, rows_around(centres, 2000, random), 256, RULE, np.random.default_rng(0))
    assert bool(book.inited)
    assert torch.cdist(centres, book.codebook).min(1).values.max() < 0.2


def test_usage_stays_above_ninety_percent_in_a_toy_run():
    random = torch.Generator().manual_seed(0)
    centres = torch.randn(200, 8, generator=random)
    books = [Codebook(64, 8) for _ in range(4)]
    used: list[set[int]] = [set() for _ in books]
    for step in range(300):
        # The distribution drifts, as that of an encoder in training does.
        residual = rows_around(centres * (1 + step / 300) + step / 100, 256, random)
        for book, seen in zip(books, used, strict=True):
            if step == 0:
                initialize(book, residual, 256, RULE, np.random.default_rng(0))
            indices = book.nearest(residual)
            rows, residual = residual, residual - book.lookup(indices)
            learn(book, rows, seed=step)
            if step >= 290:
                seen.update(indices.tolist())
    assert min(len(seen) for seen in used) > 0.9 * 64


def test_a_replaced_entry_keeps_its_new_place_in_the_next_step():
    random = torch.Generator().manual_seed(0)
    book = Codebook(4, 2)
    book.codebook.copy_(torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [900.0, 900.0]]))
    book.cluster_size.fill_(10.0)
    book.cluster_size[3] = 0.0
    book.embed_avg.copy_(book.codebook * book.cluster_size[:, None])
    rows = torch.rand(64, 2, generator=random)
    assert learn(book, rows) == 1
    born = book.codebook[3].clone()
    assert born.max() <= 1.1
    learn(book, rows, seed=1)
    assert (book.codebook[3] - born).norm() < 0.3


def test_an_update_is_the_exponential_moving_average():
    book = Codebook(2, 1)
    book.codebook.copy_(torch.tensor([[0.0], [10.0]]))
    book.cluster_size.fill_(4.0)
    book.embed_avg.copy_(book.codebook * 4.0)
    rows = torch.tensor([[1.0], [1.0], [11.0], [11.0]])
    learn(book, rows)
    expected = torch.tensor([[0.01 * 2.0], [0.99 * 40.0 + 0.01 * 22.0]]) / (0.99 * 4.0 + 0.01 * 2.0)
    torch.testing.assert_close(book.codebook, expected, rtol=1e-4, atol=1e-5)


def test_accumulated_batches_move_codebooks_as_one_batch_does():
    random = torch.Generator().manual_seed(0)
    steps = torch.randn(96, 4, generator=random)
    books = []
    for parts in (1, 3):
        book = Codebook(8, 4)
        book.codebook.copy_(steps[:8])
        book.cluster_size.fill_(12.0)
        book.embed_avg.copy_(book.codebook * 12.0)
        learn(book, *steps.chunk(parts))
        books.append(book)
    torch.testing.assert_close(books[0].codebook, books[1].codebook)
    torch.testing.assert_close(books[0].cluster_size, books[1].cluster_size)


def test_an_average_of_codebooks_begins_again_where_an_entry_was_replaced():
    book = torch.zeros(3, 2)
    average = Average([book], decay=0.9)
    for step in range(100, 103):
        book[:2] += 1.0
        book[2] = 50.0
        average.update(step)
        average.begin_again(book, torch.tensor([2]))
    assert (average.values[0][:2] < 1.0).all()
    assert (average.values[0][2] == 50.0).all()
