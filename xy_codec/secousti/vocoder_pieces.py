"""The vocoder over a clip in pieces of one length, so that its bits depend on the clip alone.

A piece is `PIECE_FRAMES` of log-mel, its context included; where the clip ends inside of it, all
that lies outside is 0 at every layer, as in a clip alone. Every product has one shape, and memory
does not grow with the clip.
"""

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xy_codec.blocks.centred_conv import convolve_inside
from xy_codec.secousti.config import HOP_SAMPLES, SPECTRUM_HOP, SPECTRUM_SIZE
from xy_codec.secousti.source import source_noise, start_phases
from xy_codec.secousti.vocoder import (
    LAST_SLOPE,
    SLOPE,
    ResidualBlock,
    Vocoder,
    clipped,
    spectrum_of,
)

PIECE_FRAMES = 256
# Frames to either side that a frame's samples depend on, once pitch and harmonics are known.
CONTEXT_FRAMES = 13

_KEPT_FRAMES = PIECE_FRAMES - 2 * CONTEXT_FRAMES
_HALF = SPECTRUM_SIZE // 2
# Windows that meet in a sample.
_PARTS = SPECTRUM_SIZE // SPECTRUM_HOP


def vocode(vocoder: Vocoder, mel: Tensor, pitch: Tensor, key: str | None) -> Tensor:
    """The log-mel `[T, M]` and pitches `[T]` of a clip to samples `[256 T]`.

    The noise of the source is that of a key; without a key there is none.
    """
    turns = vocoder.source.turns_before(pitch[None])[0]
    samples = []
    for piece in _pieces(len(mel)):
        spectrum = _source_spectrum(vocoder, piece, pitch, turns, key)
        made = _to_samples(vocoder, _logits(vocoder, piece, mel, spectrum), piece)
        samples.append(piece.kept(made, HOP_SAMPLES))
    return torch.cat(samples)


def pitch_of(vocoder: Vocoder, mel: Tensor) -> Tensor:
    """The pitches `[T]` in Hz of the log-mel `[T, M]` of a clip."""
    pitches = []
    for piece in _pieces(len(mel)):
        steps, inside = piece.cut(mel), piece.inside(1, 0, mel)
        for conv in vocoder.pitch.convs:
            steps = F.elu(convolve_inside(cast(nn.Conv1d, conv), steps, inside))
        pitches.append(piece.kept(vocoder.pitch.classifier(steps)[:, 0].abs(), 1))
    return torch.cat(pitches)


class _Piece:
    """Where a piece lies in its clip: it starts with frames of context."""

    def __init__(self, start: int, num_frames: int) -> None:
        self.start = start
        self.num_frames = num_frames

    def cut(self, frames: Tensor) -> Tensor:
        """The piece `[256, ..]` of a clip's frames `[T, ..]`, with zeros outside the clip."""
        start, stop = max(self.start, 0), min(self.start + PIECE_FRAMES, self.num_frames)
        piece = frames.new_zeros(PIECE_FRAMES, *frames.shape[1:])
        piece[start - self.start : stop - self.start] = frames[start:stop]
        return piece

    def inside(self, rate: int, more: int, like: Tensor) -> Tensor:
        """1 where one of `rate` steps a frame is in the clip, `[256 rate, 1]`, else 0.

        The clip has `more` steps than its frames make.
        """
        place = torch.arange(PIECE_FRAMES * rate, device=like.device) + self.start * rate
        is_inside = (place >= 0) & (place < self.num_frames * rate + more)
        return is_inside.to(like.dtype)[:, None]

    def kept(self, steps: Tensor, rate: int) -> Tensor:
        """The steps, `rate` a frame, that the piece adds to its clip."""
        first = self.start + CONTEXT_FRAMES
        count = min(_KEPT_FRAMES, self.num_frames - first)
        return steps[CONTEXT_FRAMES * rate : (CONTEXT_FRAMES + count) * rate]


def _pieces(num_frames: int) -> list[_Piece]:
    starts = range(-CONTEXT_FRAMES, num_frames - CONTEXT_FRAMES, _KEPT_FRAMES)
    return [_Piece(start, num_frames) for start in starts]


def _source_spectrum(
    vocoder: Vocoder, piece: _Piece, pitch: Tensor, turns: Tensor, key: str | None
) -> Tensor:
    """The source of a piece as `[64 * 256, 18]`, mirrored at the ends of the clip."""
    # A frame more on either side: the first and last steps reach over the piece's ends.
    first = max(piece.start - 1, 0)
    stop = min(piece.start + PIECE_FRAMES + 1, piece.num_frames)
    phases = noise = None
    if key is not None:
        phases, noise = (
            torch.from_numpy(values).to(pitch.device)
            for values in (
                start_phases(key),
                source_noise(key, first * HOP_SAMPLES, stop * HOP_SAMPLES),
            )
        )
    source = vocoder.source.of_frames(
        pitch[None, first:stop], turns[None, first:stop], phases, noise
    )[0]
    start = piece.start * HOP_SAMPLES
    place = torch.arange(start - _HALF, start + PIECE_FRAMES * HOP_SAMPLES + _HALF).abs()
    last = piece.num_frames * HOP_SAMPLES - 1
    mirrored = torch.where(place > last, 2 * last - place, place) - first * HOP_SAMPLES
    samples = source[mirrored.clamp(0, len(source) - 1).to(source.device)]
    windows = samples.unfold(0, SPECTRUM_SIZE, SPECTRUM_HOP)[:-1] * vocoder.window
    spectrum = torch.fft.rfft(windows)
    inside = piece.inside(HOP_SAMPLES // SPECTRUM_HOP, 1, windows)
    return torch.cat((spectrum.real, spectrum.imag), dim=1) * inside


def _logits(vocoder: Vocoder, piece: _Piece, mel: Tensor, spectrum: Tensor) -> Tensor:
    """Log magnitudes and phases `[64 * 256, 18]`."""
    inside = piece.inside(1, 0, mel)
    steps = convolve_inside(vocoder.conv_in, piece.cut(mel), inside)
    rate = 1
    for level, up in enumerate(vocoder.ups):
        up = cast(nn.ConvTranspose1d, up)
        rate *= up.stride[0]
        steps = _spread(up, F.leaky_relu(steps, SLOPE))
        if level == 1:
            steps = _with_mirrored_first(steps, -piece.start * rate)
        inside = piece.inside(rate, level, mel)
        down = cast(nn.Conv1d, vocoder.source_downs[level])
        source = _refine(vocoder.source_blocks[level], _join(down, spectrum) * inside, inside)
        steps = steps * inside + source
        refined = [_refine(block, steps, inside) for block in vocoder.blocks_of(level)]
        steps = torch.stack(refined).mean(0)
    return convolve_inside(vocoder.conv_out, F.leaky_relu(steps, LAST_SLOPE), inside)


def _to_samples(vocoder: Vocoder, logits: Tensor, piece: _Piece) -> Tensor:
    """Log magnitudes and phases `[64 * 256, 18]` to samples `[256 * 256]`."""
    inside = piece.inside(HOP_SAMPLES // SPECTRUM_HOP, 1, logits)
    windows = torch.fft.irfft(spectrum_of(logits, -1), SPECTRUM_SIZE) * vocoder.window * inside
    energy = vocoder.window.square() * inside
    return clipped(_overlap_add(windows) / _overlap_add(energy).clamp(min=1e-11))


def _overlap_add(windows: Tensor) -> Tensor:
    """Windows `[N, 16]`, four samples apart and centred, to samples `[4 N]`."""
    parts = F.pad(windows.view(len(windows), _PARTS, SPECTRUM_HOP), (0, 0, 0, 0, 1, 2))
    count = len(windows)
    summed = [parts[3 - part : 3 - part + count, part] for part in range(_PARTS)]
    return torch.stack(summed).sum(0).flatten()


def _refine(block: nn.Module, steps: Tensor, inside: Tensor) -> Tensor:
    for activation1, conv1, activation2, conv2 in cast(ResidualBlock, block).layers():
        hidden = convolve_inside(conv1, activation1(steps.t()).t(), inside)
        steps = steps + convolve_inside(conv2, activation2(hidden.t()).t(), inside)
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


def _with_mirrored_first(steps: Tensor, first: int) -> Tensor:
    """Steps moved one later; before the clip's first, at `first`, its second one is put."""
    moved = steps.roll(1, 0)
    if 0 <= first < len(steps):
        moved[first] = steps[first + 1]
    return moved
