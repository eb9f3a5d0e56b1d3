"""The causal transformer against its definition, and packs of it against clips alone."""

import numpy as np
import pytest
import torch
from torch import Tensor

from xy_codec.blocks.causal_transformer import CausalLayer, CausalTransformer, window_mask
from xy_codec.blocks.rotary import (
    for_each_channel,
    frequencies_of,
    rotate,
    rotate_in_place,
    rotation_at,
)
from xy_codec.engine.causal import BLOCK_FRAMES, Segment, cut_clip, lay_out_segments
from xy_codec.engine.threads import threads

# Beside other jobs, threads of one small product wait for each other longer than they work.
torch.set_num_threads(1)
TILE = 64
WINDOW = 83


@pytest.fixture(scope="module")
def transformer() -> CausalTransformer:
    torch.manual_seed(5)
    made = CausalTransformer(32, 2, 64, 2, WINDOW)
    for name, parameter in made.named_parameters():
        torch.nn.init.normal_(parameter, std=1.0 if "scale" in name else 0.2)
    return made.eval().requires_grad_(False)


def noise(num_steps: int, seed: int) -> Tensor:
    return torch.randn(num_steps, 32, generator=torch.Generator().manual_seed(seed))


def test_pairs_of_channels_turn_by_their_frequency() -> None:
    heads = np.random.default_rng(1).standard_normal((7, 3, 8))
    turned = rotate(
        torch.from_numpy(heads).float(), rotation_at(torch.arange(7), frequencies_of(8, 500.0))
    )
    frequencies = 500.0 ** (-np.arange(4) / 4)
    pairs = (heads[..., ::2] + 1j * heads[..., 1::2]) * np.exp(
        1j * np.arange(7)[:, None, None] * frequencies
    )
    expected = np.stack((pairs.real, pairs.imag), axis=-1).reshape(heads.shape)
    np.testing.assert_allclose(turned.numpy(), expected, atol=1e-5)


def test_a_rotation_is_the_same_bits_wherever_it_is_asked_for() -> None:
    whole = rotation_at(torch.arange(70_000), frequencies_of(64, 10_000))
    for first, count in ((1, 1), (69_983, 17), (40_001, 4_099)):
        asked = rotation_at(torch.arange(first, first + count), frequencies_of(64, 10_000))
        for part, wanted in zip(asked, whole, strict=True):
            assert torch.equal(part, wanted[first : first + count])


def test_turning_in_place_gives_the_same_bits() -> None:
    rotation = rotation_at(torch.arange(40_000, 40_007), frequencies_of(8, 500.0))
    heads = noise(7, 3).reshape(7, 4, 8)
    turned = heads.clone()
    rotate_in_place(turned, for_each_channel(rotation))
    assert torch.equal(turned, rotate(heads, rotation))


def test_a_query_sees_its_window_and_nothing_after_itself() -> None:
    expected = [[1, 1, 1, 0, 0], [0, 1, 1, 1, 0], [0, 0, 1, 1, 1]]
    seen = window_mask(3, 5, 3, torch.device("cpu")) == 0
    assert torch.equal(seen, torch.tensor(expected, dtype=torch.bool))


@torch.no_grad()
def test_a_step_reaches_one_window_a_layer_forward_and_nothing_back() -> None:
    torch.manual_seed(6)
    smooth = CausalTransformer(32, 2, 64, 2, window=9)
    for parameter in smooth.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    steps = noise(60, 1)
    before = smooth(steps[None])[0]
    steps[30] *= -1.0
    changed = (smooth(steps[None])[0] - before).abs().amax(1) > 0
    assert changed.nonzero().flatten().tolist() == list(range(30, 30 + 2 * 8 + 1))


@torch.no_grad()
def test_products_of_released_widths_do_not_depend_on_the_number_of_threads() -> None:
    torch.manual_seed(3)
    layer = CausalLayer(1280, 20, 5120)
    steps, attended = torch.randn(512, 1280), torch.randn(512, 20, 64)
    rotation = rotation_at(torch.arange(512), frequencies_of(64, 10_000))
    one = (layer.project(steps, *rotation), layer.mix(steps, attended))
    with threads(2):
        two = (layer.project(steps, *rotation), layer.mix(steps, attended))
    assert all(torch.equal(*pair) for pair in zip(one, two, strict=True))


def run_pack(
    transformer: CausalTransformer, parts: list[tuple[Tensor, Segment]], up: int
) -> list[Tensor]:
    """Run segments and their steps, `up` a frame, in one pack."""
    segments = [segment for _, segment in parts]
    layout = lay_out_segments(segments, TILE, torch.device("cpu")).faster(up)
    outputs = layout.transform(transformer, torch.cat([steps for steps, _ in parts]))
    layout.remember()
    return list(outputs.split([segment.frames * up for segment in segments]))


def whole(clip: Tensor, up: int) -> tuple[Tensor, Segment]:
    (segment,) = cut_clip(len(clip) // up, 10 * BLOCK_FRAMES)
    return clip, segment


@torch.no_grad()
@pytest.mark.parametrize("up", [1, 2, 5])
def test_packs_equal_the_plain_transformer_and_their_own_bits_in_any_company(
    transformer: CausalTransformer, up: int
) -> None:
    clips = [noise(frames * up, frames) for frames in (1, 31, 32, 33, 64, 70, 150)]
    alone = [run_pack(transformer, [whole(clip, up)], up)[0] for clip in clips]
    for clip, out in zip(clips, alone, strict=True):
        torch.testing.assert_close(out, transformer(clip[None])[0], rtol=1e-4, atol=1e-4)
    rng = np.random.default_rng(up)
    for _ in range(6):
        order = rng.permutation(len(clips))
        outputs = run_pack(transformer, [whole(clips[i], up) for i in order], up)
        assert all(torch.equal(out, alone[i]) for i, out in zip(order, outputs, strict=True))


@torch.no_grad()
@pytest.mark.parametrize("up", [1, 4])
def test_a_clip_cut_into_segments_keeps_its_bits(transformer: CausalTransformer, up: int) -> None:
    clip, other = noise(310 * up, 9), noise(7 * up, 3)
    uncut = run_pack(transformer, [whole(clip, up)], up)[0]
    for blocks in (1, 2, 5):
        outputs = []
        segments = cut_clip(310, blocks * BLOCK_FRAMES)
        for segment in segments:
            steps = clip[segment.first * up : (segment.first + segment.frames) * up]
            outputs.append(run_pack(transformer, [whole(other, up), (steps, segment)], up)[1])
            past = segment.memory.past
            assert all(kept.shape[2] <= WINDOW - 1 for kept in past.values())
            assert len(past) == (0 if segment is segments[-1] else 2)
        assert torch.equal(torch.cat(outputs), uncut)


def test_segments_end_where_blocks_end() -> None:
    assert cut_clip(0, BLOCK_FRAMES) == []
    cuts = [(s.first, s.frames, s.is_last) for s in cut_clip(130, 2 * BLOCK_FRAMES)]
    assert cuts == [(0, 64, False), (64, 64, False), (128, 2, True)]
    with pytest.raises(ValueError, match="100 frames do not end"):
        cut_clip(130, 100)
