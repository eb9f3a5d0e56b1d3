"""The vocoder over a tile of frames, in which clips or parts of them lie one behind the other.

Steps outside of clips are 0 at every layer, as beside a clip alone, so that no clip hears another
one: between two of them lie `2 * EDGE_FRAMES`. Every product has one shape, whatever is in a tile.
"""

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xy_codec.blocks.centred_conv import convolve_inside
from xy_codec.secousti.config import HOP_SAMPLES, SPECTRUM_HOP, SPECTRUM_SIZE
from xy_codec.secousti.vocoder import (
    LAST_SLOPE,
    SLOPE,
    ResidualBlock,
    Vocoder,
    clipped,
    spectrum_of,
)

# Frames to either side that a frame's samples depend on, once pitch and harmonics are known.
CONTEXT_FRAMES = 14
# Frames of a tile that are kept free beside the ends of a clip: no layer reaches over four frames,
# and the first two behind a clip hold the last of its spectra, which the end mirrors.
EDGE_FRAMES = 2

_HALF = SPECTRUM_SIZE // 2
# Windows that meet in a sample.
_PARTS = SPECTRUM_SIZE // SPECTRUM_HOP


class Tile:
    """Where the frames of a tile lie in their clips."""

    def __init__(self, place: Tensor, num_frames: Tensor) -> None:
        """Take, both `[V]`, each frame's place in a clip and how many frames that clip has."""
        self._place = place[:, None]
        self._num_frames = num_frames[:, None]

    def outside(self, rate: int, more: int = 0) -> Tensor:
        """Which of `rate` steps a frame are in no clip, `[rate V, 1]`.

        A clip has `more` steps than its frames make.
        """
        place = self._places(rate)
        is_outside = (place < 0) | (place >= self._num_frames * rate + more)
        return is_outside.view(-1, 1)

    def starts(self, rate: int) -> Tensor:
        """Which of `rate` steps a frame are the first of a clip, `[rate V, 1]`."""
        return (self._places(rate) == 0).view(-1, 1)

    def mirrored(self) -> Tensor:
        """Where in the tile each of its samples is, `[256 V]`; outside of a clip, its mirror."""
        place, last = self._places(HOP_SAMPLES), self._num_frames * HOP_SAMPLES - 1
        mirrored = place.abs()
        mirrored = torch.where(mirrored > last, 2 * last - mirrored, mirrored)
        moved = (mirrored - place).flatten()
        here = torch.arange(len(moved), dtype=moved.dtype, device=moved.device)
        return (here + moved).clamp(0, len(moved) - 1)

    def _places(self, rate: int) -> Tensor:
        """`[V, rate]`, the place of each step in its clip."""
        steps = torch.arange(rate, dtype=self._place.dtype, device=self._place.device)
        return self._place * rate + steps


def filter_tile(vocoder: Vocoder, tile: Tile, mel: Tensor, source: Tensor) -> Tensor:
    """Log-mel `[V, M]` and the samples of its source `[256 V]` to samples `[256 V]`."""
    return _to_samples(vocoder, _logits(vocoder, mel, _spectrum(vocoder, source, tile), tile), tile)


def _spectrum(vocoder: Vocoder, source: Tensor, tile: Tile) -> Tensor:
    """A source as `[64 V, 18]`, mirrored at the ends of its clips."""
    samples = F.pad(source.index_select(0, tile.mirrored()), (_HALF, _HALF))
    windows = samples.unfold(0, SPECTRUM_SIZE, SPECTRUM_HOP)[:-1] * vocoder.window
    spectrum = torch.fft.rfft(windows)
    parts = torch.cat((spectrum.real, spectrum.imag), dim=1)
    return parts.masked_fill_(tile.outside(HOP_SAMPLES // SPECTRUM_HOP, 1), 0.0)


def _logits(vocoder: Vocoder, mel: Tensor, spectrum: Tensor, tile: Tile) -> Tensor:
    """Log magnitudes and phases `[64 V, 18]`."""
    outside = tile.outside(1)
    steps = convolve_inside(vocoder.conv_in, mel.masked_fill(outside, 0.0), outside)
    rate = 1
    for level, up in enumerate(vocoder.ups):
        up = cast(nn.ConvTranspose1d, up)
        rate *= up.stride[0]
        steps = _spread(up, F.leaky_relu(steps, SLOPE))
        if level == 1:
            steps = _with_mirrored_first(steps, tile.starts(rate))
        outside = tile.outside(rate, level)
        down = cast(nn.Conv1d, vocoder.source_downs[level])
        source = _join(down, spectrum).masked_fill_(outside, 0.0)
        source = _refine(vocoder.source_blocks[level], source, outside)
        steps = steps.masked_fill_(outside, 0.0) + source
        refined = [_refine(block, steps, outside) for block in vocoder.blocks_of(level)]
        steps = torch.stack(refined).mean(0)
    return convolve_inside(vocoder.conv_out, F.leaky_relu(steps, LAST_SLOPE), outside)


def _to_samples(vocoder: Vocoder, logits: Tensor, tile: Tile) -> Tensor:
    """Log magnitudes and phases `[64 V, 18]` to samples `[256 V]`."""
    outside = tile.outside(HOP_SAMPLES // SPECTRUM_HOP, 1)
    windows = torch.fft.irfft(spectrum_of(logits, -1), SPECTRUM_SIZE) * vocoder.window
    energy = vocoder.window.square().expand_as(windows)
    added, divisor = (_overlap_add(part.masked_fill(outside, 0.0)) for part in (windows, energy))
    return clipped(added / divisor.clamp(min=1e-11))


def _overlap_add(windows: Tensor) -> Tensor:
    """Windows `[N, 16]`, four samples apart and centred, to samples `[4 N]`."""
    parts = F.pad(windows.view(len(windows), _PARTS, SPECTRUM_HOP), (0, 0, 0, 0, 1, 2))
    count = len(windows)
    summed = [parts[3 - part : 3 - part + count, part] for part in range(_PARTS)]
    return torch.stack(summed).sum(0).flatten()


def _refine(block: nn.Module, steps: Tensor, outside: Tensor) -> Tensor:
    for activation1, conv1, activation2, conv2 in cast(ResidualBlock, block).layers():
        hidden = convolve_inside(conv1, activation1(steps.t()).t(), outside)
        steps = steps + convolve_inside(conv2, activation2(hidden.t()).t(), outside)
    return steps


def _spread(up: nn.ConvTranspose1d, steps: Tensor) -> Tensor:
    """Steps `[T, width in]` to `[stride T, width out]`; the kernel is twice the stride."""
    (stride,) = up.stride
    matrix = up.weight.permute(2, 1, 0).flatten(0, 1)
    earlier, later = F.linear(steps, matrix).view(len(steps), 2, stride, -1).unbind(1)
    groups = F.pad(earlier, (0, 0, 0, 0, 0, 1)) + F.pad(later, (0, 0, 0, 0, 1, 0))
    half = stride // 2
    return groups.flatten(0, 1)[half:-half] + cast(Tensor, up.bias)


def _join(down: nn.Conv1d, steps: Tensor) -> Tensor:
    """Steps `[stride T, width in]` to `[T, width out]`; the kernel is twice the stride, or 1."""
    (kernel,), (stride,) = down.kernel_size, down.stride
    if kernel == 1:
        return F.linear(steps, down.weight[..., 0], down.bias)
    earlier, later = (
        part.transpose(1, 2).flatten(1) for part in torch.split(down.weight, stride, dim=2)
    )
    half = stride // 2
    groups = F.pad(steps, (0, 0, half, half)).view(len(steps) // stride + 1, -1)
    return F.linear(groups[:-1], earlier, down.bias) + F.linear(groups[1:], later)


def _with_mirrored_first(steps: Tensor, starts: Tensor) -> Tensor:
    """Steps moved one later; in the place of a clip's first, its second one is put."""
    return torch.where(starts, steps.roll(-1, 0), steps.roll(1, 0))
