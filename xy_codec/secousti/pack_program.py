"""Encoding as one program of one shape: samples of all clips of a pack to tokens and side values.

The host fills `PackInputs`; no operation is a clip's, as in `engine/causal_program.py`.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xy_codec.engine.causal import SegmentJob
from xy_codec.engine.causal_program import CausalBlockLayout, SegmentInputs
from xy_codec.engine.geometry import Geometry
from xy_codec.engine.pack_memory import Arrays, Shapes
from xy_codec.secousti.config import HOP_SAMPLES, WINDOW_SAMPLES
from xy_codec.secousti.mel import windows_of
from xy_codec.secousti.model import SecoustiModel
from xy_codec.secousti.packed import encode_pack
from xy_codec.secousti.paralinguistic import SLICE_FRAMES, middle

# Frames behind each stretch of samples, whose windows would see two of them.
_GAP_FRAMES = WINDOW_SAMPLES // HOP_SAMPLES - 1


class SampleTensors(NamedTuple):
    """Samples of a pack of F tokens and S frames of log-mel, of at most C clips.

    Attributes:
        samples: stretches of clips with their margins, one behind the other. A clip that goes on
            behind the pack has its middle in the last stretch.
        frames: `[S]`, the window of each frame, counted in hops from the first sample.
        num_frames: `[F]`, frames that a token's clip has in it.
        middles: `[C, 300]`, the windows in the middle of each clip that begins here.
        lengths: `[C]`, how many of these there are.
    """

    samples: Tensor
    frames: Tensor
    num_frames: Tensor
    middles: Tensor
    lengths: Tensor


class PackInputs(SegmentInputs[SegmentJob]):
    """Sizes of the parts, and how they are filled."""

    def __init__(self, geometry: Geometry, token_frames: int) -> None:
        super().__init__(geometry)
        self.token_frames = token_frames
        self._most_frames = geometry.pack_steps * token_frames
        self._spare = self._most_frames + _GAP_FRAMES * geometry.most_clips

    def _own_shapes(self) -> Shapes:
        clips = self.geometry.most_clips
        last = self._spare + SLICE_FRAMES - 1
        return [
            (np.float32, (last * HOP_SAMPLES + WINDOW_SAMPLES,)),
            (np.int32, (self._most_frames,)),
            (np.int32, (self.geometry.pack_steps,)),
            (np.int32, (clips, SLICE_FRAMES)),
            (np.int64, (clips,)),
        ]

    def _fill_own(self, parts: Arrays, jobs: Sequence[SegmentJob]) -> None:
        samples, frames, num_frames, middles, lengths = parts
        # Frames of no clip, and those that a middle lacks, have some window that is there.
        frames[:], num_frames[:], middles[:], lengths[:] = 0, 0, 0, 1
        row = token = starting = 0
        for job in jobs:
            first, own = self._frames_of(job)
            _put(samples, row, job.samples, first, own)
            frames[token * self.token_frames :][:own] = np.arange(row, row + own)
            num_frames[token : token + job.frames] = self.token_frames
            num_frames[token + job.frames - 1] -= job.frames * self.token_frames - own
            if not first:
                whole = _num_frames(job.samples)
                start, stop, _ = middle(whole).indices(whole)
                at = row + start
                if not job.segment.is_last:
                    at = self._spare
                    _put(samples, at, job.samples, start, stop - start)
                middles[starting, : stop - start] = np.arange(at, at + stop - start)
                lengths[starting] = stop - start
                starting += 1
            row, token = row + own + _GAP_FRAMES, token + job.frames

    def _frames_of(self, job: SegmentJob) -> tuple[int, int]:
        """The first frame of log-mel of a job, and how many its clip has there."""
        first = job.segment.first * self.token_frames
        return first, min(job.frames * self.token_frames, _num_frames(job.samples) - first)


def _num_frames(mirrored: NDArray[np.float32]) -> int:
    return (len(mirrored) - WINDOW_SAMPLES) // HOP_SAMPLES + 1


def _put(
    samples: NDArray[np.generic], at: int, mirrored: NDArray[np.float32], first: int, count: int
) -> None:
    """Write the samples of so many frames of a clip, so that the first one's window is at `at`."""
    length = (count - 1) * HOP_SAMPLES + WINDOW_SAMPLES
    samples[at * HOP_SAMPLES :][:length] = mirrored[first * HOP_SAMPLES :][:length]


def encode(model: SecoustiModel, layout: CausalBlockLayout, parts: Sequence[Tensor]) -> Tensor:
    """The tokens `[F]` of a pack as int16, and behind them the states `[C, H]` as their bytes."""
    pack = SampleTensors(*parts)
    mel = model.mel.of_windows(windows_of(pack.samples))
    tokens = encode_pack(model, mel.index_select(0, pack.frames), layout, pack.num_frames)
    middles = mel.index_select(0, pack.middles.flatten()).view(*pack.middles.shape, -1)
    states = model.paralinguistic_encoder.of_padded(middles, pack.lengths, as_one=True)
    return torch.cat((tokens.short(), states.view(torch.int16).flatten()))
