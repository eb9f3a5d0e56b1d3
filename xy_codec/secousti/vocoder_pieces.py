"""The vocoder over a clip in pieces of one length, so that its bits depend on the clip alone.

A piece is a tile of `PIECE_FRAMES` of log-mel, its context included. Memory does not grow with the
clip.
"""

from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xy_codec.blocks.centred_conv import convolve_inside
from xy_codec.secousti.config import HOP_SAMPLES
from xy_codec.secousti.noise import noise_states, start_phases
from xy_codec.secousti.vocoder import Vocoder
from xy_codec.secousti.vocoder_tile import CONTEXT_FRAMES, Tile, filter_tile

PIECE_FRAMES = 256

_KEPT_FRAMES = PIECE_FRAMES - 2 * CONTEXT_FRAMES


def vocode(vocoder: Vocoder, mel: Tensor, pitch: Tensor, key: str | None) -> Tensor:
    """The log-mel `[T, M]` and pitches `[T]` of a clip to samples `[256 T]`.

    The noise of the source is that of a key; without a key there is none.
    """
    turns = vocoder.source.turns_before(pitch[None])[0]
    samples = []
    for piece in _pieces(len(mel)):
        source = _source(vocoder, piece, pitch, turns, key)
        made = filter_tile(vocoder, piece.tile(mel.device), piece.cut(mel), source)
        samples.append(piece.kept(made, HOP_SAMPLES))
    return torch.cat(samples)


def pitch_of(vocoder: Vocoder, mel: Tensor) -> Tensor:
    """The pitches `[T]` in Hz of the log-mel `[T, M]` of a clip."""
    pitches = []
    for piece in _pieces(len(mel)):
        steps, outside = piece.cut(mel), piece.tile(mel.device).outside(1)
        for conv in vocoder.pitch.convs:
            steps = F.elu(convolve_inside(cast(nn.Conv1d, conv), steps, outside))
        pitches.append(piece.kept(vocoder.pitch.classifier(steps)[:, 0].abs(), 1))
    return torch.cat(pitches)


class _Piece:
    """Where a piece lies in its clip: it starts with frames of context."""

    def __init__(self, start: int, num_frames: int) -> None:
        self.start = start
        self.num_frames = num_frames

    def tile(self, device: torch.device) -> Tile:
        """The piece as a tile."""
        place = torch.arange(self.start, self.start + PIECE_FRAMES, device=device)
        return Tile(place, torch.full_like(place, self.num_frames))

    @property
    def inside(self) -> slice:
        """The frames of the clip that lie in the piece."""
        return slice(max(self.start, 0), min(self.start + PIECE_FRAMES, self.num_frames))

    def cut(self, frames: Tensor) -> Tensor:
        """The piece `[256, ..]` of a clip's frames `[T, ..]`, with zeros outside the clip."""
        piece = frames.new_zeros(PIECE_FRAMES, *frames.shape[1:])
        own = self.inside
        piece[own.start - self.start : own.stop - self.start] = frames[own]
        return piece

    def kept(self, steps: Tensor, rate: int) -> Tensor:
        """The steps, `rate` a frame, that the piece adds to its clip."""
        first = self.start + CONTEXT_FRAMES
        count = min(_KEPT_FRAMES, self.num_frames - first)
        return steps[CONTEXT_FRAMES * rate : (CONTEXT_FRAMES + count) * rate]


def _pieces(num_frames: int) -> list[_Piece]:
    starts = range(-CONTEXT_FRAMES, num_frames - CONTEXT_FRAMES, _KEPT_FRAMES)
    return [_Piece(start, num_frames) for start in starts]


def _source(
    vocoder: Vocoder, piece: _Piece, pitch: Tensor, turns: Tensor, key: str | None
) -> Tensor:
    """The source of a piece `[256 * 256]`."""
    phases = noise = None
    if key is not None:
        own = piece.inside
        phases = torch.from_numpy(start_phases(key)).to(pitch.device)
        states = np.zeros((PIECE_FRAMES, 4), np.int64)
        states[own.start - piece.start : own.stop - piece.start] = noise_states(
            key, own.start, own.stop
        )
        noise = vocoder.source.noise(torch.from_numpy(states).to(pitch.device))
    return vocoder.source.of_frames(piece.cut(pitch), piece.cut(turns), phases, noise)
