"""Codebooks learn without a process group and with one, and none of their entries stays dead."""

from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch.multiprocessing.spawn import spawn

from xy_codec.training.codebook_update import initialize, update
from xy_codec.training.recipe import CodebookRule
from xy_codec.xy.quantizer import Codebook

RULE = CodebookRule(dead_share=0.3, expected_vectors=256)


def rows_around(centres: torch.Tensor, count: int, random: torch.Generator) -> torch.Tensor:
    chosen = torch.randint(len(centres), (count,), generator=random)
    noise = torch.randn(count, centres.shape[1], generator=random)
    return centres[chosen] + 0.05 * noise


def test_kmeans_finds_the_centres_without_a_process_group():
    random = torch.Generator().manual_seed(0)
    centres = 5 * torch.randn(8, 4, generator=random)
    book = Codebook(32, 4)
    initialize(book, rows_around(centres, 2000, random), RULE, random)
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
                initialize(book, residual, RULE, random)
            indices = book.nearest(residual)
            rows, residual = residual, residual - book.lookup(indices)
            update(book, rows, indices, RULE, random)
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
    assert update(book, rows, book.nearest(rows), RULE, random) == 1
    born = book.codebook[3].clone()
    assert born.max() <= 1.1
    update(book, rows, book.nearest(rows), RULE, random)
    assert (book.codebook[3] - born).norm() < 0.3


def test_an_update_is_the_exponential_moving_average():
    book = Codebook(2, 1)
    book.codebook.copy_(torch.tensor([[0.0], [10.0]]))
    book.cluster_size.fill_(4.0)
    book.embed_avg.copy_(book.codebook * 4.0)
    rows = torch.tensor([[1.0], [1.0], [11.0], [11.0]])
    update(book, rows, book.nearest(rows), RULE, torch.Generator())
    expected = torch.tensor([[0.01 * 2.0], [0.99 * 40.0 + 0.01 * 22.0]]) / (0.99 * 4.0 + 0.01 * 2.0)
    torch.testing.assert_close(book.codebook, expected, rtol=1e-4, atol=1e-5)


def learn_in_group(rank: int, world: int, folder: str) -> None:
    torch.set_num_threads(1)
    store = f"file://{folder}/store"
    dist.init_process_group("gloo", init_method=store, rank=rank, world_size=world)
    random = torch.Generator().manual_seed(rank)
    everything = torch.randn(512, 4, generator=torch.Generator().manual_seed(9))
    mine = everything[rank::world]
    book = Codebook(16, 4)
    initialize(book, mine, RULE, random)
    for _ in range(3):
        update(book, mine, book.nearest(mine), RULE, random)
    torch.save(book.state_dict(), f"{folder}/rank{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.slow
def test_every_process_of_a_group_holds_the_same_codebook(tmp_path: Path):
    spawn(learn_in_group, args=(2, str(tmp_path)), nprocs=2)
    first, second = (torch.load(tmp_path / f"rank{rank}.pt") for rank in range(2))
    assert all(torch.equal(first[key], second[key]) for key in first)
