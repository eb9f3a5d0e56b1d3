"""Convolutions over packs and padded clips against torch's own, clip by clip."""

import itertools

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xy_codec.blocks.causal_conv import CausalConv1d, CausalConvTranspose1d
from xy_codec.blocks.centred_conv import convolve_inside
from xy_codec.engine.causal import BLOCK_FRAMES, CausalLayout, cut_clip, lay_out_segments

# Beside other jobs, threads of one small product wait for each other longer than they work.
torch.set_num_threads(1)
TILE = 16


def noise(*sizes: int) -> Tensor:
    return torch.randn(*sizes, generator=torch.Generator().manual_seed(sum(sizes)))


def pack_of(clips: list[Tensor], up: int) -> tuple[Tensor, CausalLayout]:
    """Clips `[frames * up, D]` end to end, and the layout of their frames."""
    segments = [cut_clip(len(clip) // up, 1000 * BLOCK_FRAMES)[0] for clip in clips]
    return torch.cat(clips), lay_out_segments(segments, TILE, torch.device("cpu"))


@torch.no_grad()
@pytest.mark.parametrize(("kernel", "stride"), [(1, 1), (3, 1), (7, 1), (2, 1), (4, 2), (6, 3)])
def test_a_causal_convolution_over_a_pack_is_that_of_each_clip(kernel: int, stride: int) -> None:
    conv = CausalConv1d(4, 6, kernel, stride)
    clips = [noise(frames * stride, 4) for frames in (1, 2, 5, 17, 3)]
    buffer, layout = pack_of(clips, stride)
    outputs = layout.convolve(conv, buffer).split([1, 2, 5, 17, 3])
    for clip, got in zip(clips, outputs, strict=True):
        padded = F.pad(clip.T[None], (kernel - stride, 0))
        expected = F.conv1d(padded, conv.weight, conv.bias, stride)[0].T
        torch.testing.assert_close(got, expected)
        torch.testing.assert_close(got, conv(clip.T[None])[0].T)


@torch.no_grad()
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_a_transposed_convolution_over_a_pack_is_that_of_each_clip(stride: int) -> None:
    conv = CausalConvTranspose1d(4, 6, 2 * stride, stride)
    clips = [noise(frames, 4) for frames in (1, 2, 17)]
    buffer, layout = pack_of(clips, 1)
    outputs = layout.convolve(conv, buffer).split([stride, 2 * stride, 17 * stride])
    for clip, got in zip(clips, outputs, strict=True):
        whole = F.conv_transpose1d(clip.T[None], conv.weight, conv.bias, stride)
        expected = whole[0, :, : stride * len(clip)].T
        torch.testing.assert_close(got, expected)
        torch.testing.assert_close(got, conv(clip.T[None])[0].T)


@torch.no_grad()
def test_an_incomplete_last_window_sees_zeros() -> None:
    conv, clip = CausalConv1d(4, 6, 4, 2), noise(7, 4)
    zeros = torch.cat((clip, torch.zeros(1, 4)))
    assert torch.equal(conv(clip.T[None]), conv(zeros.T[None]))
    buffer, layout = pack_of([torch.cat((clip, noise(1, 4))), noise(4, 4)], 2)
    fast = layout.faster(2)
    cleaned = fast.without_tails(buffer, [7, 4])
    assert torch.equal(cleaned[8:], noise(4, 4))
    torch.testing.assert_close(layout.convolve(conv, cleaned)[:4], conv(clip.T[None])[0].T)


@torch.no_grad()
def test_a_clip_cut_into_segments_keeps_the_bits_of_its_convolutions() -> None:
    convs = (CausalConv1d(4, 6, 7), CausalConv1d(6, 5, 3))
    clip = noise(100, 4)

    def run(most_frames: int) -> Tensor:
        parts = []
        for segment in cut_clip(100, most_frames):
            layout = lay_out_segments([segment], TILE, torch.device("cpu"))
            steps = clip[segment.first : segment.first + segment.frames]
            for conv in convs:
                steps = layout.convolve(conv, steps)
            layout.remember()
            parts.append(steps)
        return torch.cat(parts)

    whole = run(128)
    for most_frames in (32, 64, 96):
        assert torch.equal(run(most_frames), whole)


@torch.no_grad()
@pytest.mark.parametrize(("kernel", "dilation"), list(itertools.product((1, 3, 7), (1, 5))))
def test_a_padded_clip_is_convolved_as_if_it_ended(kernel: int, dilation: int) -> None:
    conv = nn.Conv1d(4, 6, kernel, dilation=dilation, padding="same")
    clip = noise(20, 4)
    outside = torch.ones(50, 1, dtype=torch.bool)
    outside[11:31] = False
    padded = torch.zeros(50, 4)
    padded[11:31] = clip
    got = convolve_inside(conv, padded, outside)
    torch.testing.assert_close(got[11:31], conv(clip.T[None])[0].T)
    assert not got[:11].any()
    assert not got[31:].any()
